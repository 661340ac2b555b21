#include "birth.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace cairn::spawner {

namespace {

constexpr int kNoProgram = 127;

// Deep enough for a body; only the pages that one touches exist.
constexpr std::size_t kStackBytes = 256 * 1024;
alignas(16) std::array<std::byte, kStackBytes> child_stack;

struct Entry {
  const std::function<void(Report&)>& body;
  Report& report;
};

[[noreturn]] void enter(void* argument) noexcept {
  const auto* entry = static_cast<const Entry*>(argument);
  entry->body(entry->report);
  _exit(kNoProgram);
}

// clone3 with a stack for the child: it must not return into a frame of its parent. The C library
// has no function for it, and its clone() has no room for CLONE_INTO_CGROUP.
long clone_onto_stack(clone_args& args, void (*child)(void*), void* argument) {
  long result = SYS_clone3;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "mov %[argument], %%rdi\n\t"
      "call *%[child]\n"
      "1:"
      : "+a"(result)
      : "D"(&args), "S"(sizeof args), [child] "r"(child), [argument] "r"(argument)
      : "rcx", "r11", "memory", "cc");
  return result;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> found;
  for (const std::string& text : texts) found.push_back(const_cast<char*>(text.c_str()));
  found.push_back(nullptr);
  return found;
}

std::vector<std::string> places_of(const std::string& name, const std::vector<std::string>& env) {
  if (name.empty()) return {};
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> places;
  for (std::string_view path : env) {
    if (!path.starts_with("PATH=")) continue;
    for (path.remove_prefix(5); !path.empty();) {
      const std::string_view directory = path.substr(0, path.find(':'));
      path.remove_prefix(std::min(directory.size() + 1, path.size()));
      if (!directory.empty()) places.push_back(std::string(directory) + "/" + name);
    }
  }
  return places;
}

}  // namespace

Failure system_failure(int number, std::string_view what, std::string_view object) {
  std::string text(what);
  if (!object.empty()) text.append(" ").append(object);
  return {FailureKind::kSystem, text + ": " + std::strerror(number)};
}

void Report::check(long result, std::string_view what, std::string_view object) {
  if (result < 0) fail(system_failure(errno, what, object));
}

void Report::fail(Failure failure) {
  failure_ = std::move(failure);
  _exit(kNoProgram);
}

Birth start_process(std::uint64_t namespaces,
                    const os::Fd& cgroup,
                    const std::function<void(Report&)>& body) {
  int pidfd = -1;
  clone_args args{};
  args.flags = namespaces | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<std::uintptr_t>(child_stack.data());
  args.stack_size = kStackBytes;
  args.cgroup = static_cast<__u64>(cgroup.get());

  Report report;
  Entry entry{body, report};
  const long result = clone_onto_stack(args, enter, &entry);
  if (result < 0) return {.failure = system_failure(static_cast<int>(-result), "clone3")};

  Birth birth{static_cast<pid_t>(result), os::Fd(pidfd), report.failure()};
  if (birth.failure) reap(birth.pid);
  return birth;
}

Executable::Executable(const Program& program)
    : name_(program.argv.empty() ? "" : program.argv.front()),
      places_(places_of(name_, program.env)),
      argv_(pointers(program.argv)),
      env_(pointers(program.env)) {}

void Executable::run(Report& report) const {
  bool denied = false;
  for (const std::string& place : places_) {
    execve(place.c_str(), argv_.data(), env_.data());
    if (errno == EACCES || errno == EPERM) {
      denied = true;
    } else if (errno != ENOENT && errno != ENOTDIR) {
      report.check(-1, "exec", place);
    }
  }
  const bool named_by_path = name_.find('/') != std::string::npos;
  const char* reason = denied          ? "permission denied"
                       : named_by_path ? "no such file or directory"
                                       : "executable file not found in $PATH";
  report.fail({FailureKind::kLookup, "exec: \"" + name_ + "\": " + reason});
}

// Not the C library's functions: version 2.36 declares them for C only.
os::Fd open_process(pid_t pid) {
  return os::Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

void kill_process(const os::Fd& pidfd) {
  syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

int reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace cairn::spawner
