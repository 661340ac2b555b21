#include "loop.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "inject.h"

namespace cairn::crash {
namespace {

constexpr long kTraceOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE |
                               PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                               PTRACE_O_EXITKILL;
// In-kernel results of a call that a signal interrupted and that will be entered again
// (linux/errno.h, not exported to user space).
constexpr std::int64_t kErestartMax = -512;
constexpr std::int64_t kErestartMin = -516;
// How long a hook waits for threads that cannot stop, such as a parent inside vfork().
constexpr int kStopWaitMs = 300;

long trace(int request, pid_t tid, long data) {
  return ptrace(static_cast<__ptrace_request>(request), tid, nullptr, data);
}

bool get_registers(pid_t tid, user_regs_struct& registers) {
  return ptrace(PTRACE_GETREGS, tid, nullptr, &registers) == 0;
}

void set_registers(pid_t tid, const user_regs_struct& registers) {
  ptrace(PTRACE_SETREGS, tid, nullptr, &registers);
}

[[noreturn]] void run_program(const Options& options, int gate) {
  char go = 0;
  while (read(gate, &go, 1) < 0 && errno == EINTR) {
  }
  if (const int error = install_filter(!options.record.empty()); error != 0) {
    std::fprintf(stderr, "cairn_tracer: seccomp: %s\n", std::strerror(error));
    _exit(126);
  }
  sigprocmask(SIG_SETMASK, &options.signal_mask, nullptr);
  std::vector<char*> args;
  for (const std::string& arg : options.argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  execvp(args[0], args.data());
  const int error = errno;
  std::fprintf(stderr, "cairn_tracer: %s: %s\n", args[0], std::strerror(error));
  _exit(127);
}

bool is_device_or_proc(const std::string& path) {
  return path.starts_with("/proc/") ||
         (path.starts_with("/dev/") && !path.starts_with("/dev/shm/"));
}

}  // namespace

Tracer::Tracer(const Options& options, Counter& counter, std::function<void(const Outcome&)> report)
    : options_(options), counter_(counter), report_(std::move(report)) {}

Tracer::~Tracer() {
  if (log_fd_ >= 0) close(log_fd_);
}

pid_t Tracer::start() {
  if (!options_.log.empty()) {
    log_fd_ = open(options_.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd_ < 0) {
      std::perror(options_.log.c_str());
      return -1;
    }
  }
  if (!options_.record.empty()) {
    recorder_ = std::make_unique<Recorder>(options_.record, options_.only_paths);
    if (!recorder_->error().empty()) {
      std::fprintf(stderr, "cairn_tracer: %s\n", recorder_->error().c_str());
      return -1;
    }
  }
  // The child waits until it is traced: a filter without a tracer answers ENOSYS.
  int gate[2];
  if (pipe2(gate, O_CLOEXEC) != 0) return -1;
  root_ = fork();
  if (root_ < 0) return -1;
  if (root_ == 0) {
    close(gate[1]);
    run_program(options_, gate[0]);
  }
  close(gate[0]);
  if (trace(PTRACE_SEIZE, root_, kTraceOptions) != 0) {
    std::perror("cairn_tracer: ptrace");
    kill(root_, SIGKILL);
    return -1;
  }
  threads_[root_].tid = root_;
  threads_[root_].group = root_;
  root_session_ = session_of(root_);
  const bool opened = write(gate[1], "g", 1) == 1;
  close(gate[1]);
  return opened ? root_ : -1;
}

void Tracer::run() {
  for (;;) {
    int status = 0;
    const pid_t tid = waitpid(-1, &status, __WALL);
    if (tid < 0 && errno == EINTR) continue;
    if (tid < 0) break;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      on_gone(tid, status);
      continue;
    }
    // A new thread may stop before its parent's clone event arrives: both orders end up here.
    Thread& thread = threads_[tid];
    if (thread.tid == 0) {
      thread.tid = tid;
      thread.group = thread_group(tid);
    }
    thread.stopped = true;
    on_stop(thread, status);
  }
  if (!reported_) {
    finish_log();
    report_({.code = killing_ ? 137 : exit_code_, .final = true});
  }
}

void Tracer::on_stop(Thread& thread, int status) {
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  if (killing_ && !is_spared(thread)) {
    kill(thread.tid, SIGKILL);
    return;
  }
  if (event == PTRACE_EVENT_SECCOMP) return on_call_entry(thread);
  if (signal == (SIGTRAP | 0x80)) return on_call_exit(thread);
  if (event == PTRACE_EVENT_STOP) {
    const bool group_stop =
        signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
    return resume(thread, group_stop ? PTRACE_LISTEN : PTRACE_CONT, 0);
  }
  if (event == PTRACE_EVENT_EXEC) {
    // The calling thread has taken over the leader's id; its other threads are gone.
    unsigned long former = 0;
    ptrace(PTRACE_GETEVENTMSG, thread.tid, nullptr, &former);
    if (static_cast<pid_t>(former) != thread.tid) threads_.erase(static_cast<pid_t>(former));
    thread.in_call = false;
    thread.restart_ip = 0;
    return resume(thread, PTRACE_CONT, 0);
  }
  if (event != 0) return resume(thread, PTRACE_CONT, 0);
  resume(thread, thread.in_call ? PTRACE_SYSCALL : PTRACE_CONT, signal);
}

void Tracer::resume(Thread& thread, int request, int signal) {
  thread.stopped = false;
  trace(request, thread.tid, signal);
}

void Tracer::on_call_entry(Thread& thread) {
  if (!recorder_ && !counter_.armed()) return resume(thread, PTRACE_CONT, 0);
  user_regs_struct registers{};
  const CallSpec* spec = nullptr;
  if (get_registers(thread.tid, registers)) {
    spec = find_call(static_cast<long>(registers.orig_rax));
  }
  if (spec == nullptr ||
      (spec->shape == Shape::kOpenat2 && !opens_to_change(thread.tid, arguments_of(registers)))) {
    return resume(thread, PTRACE_CONT, 0);
  }
  const std::uint64_t restart_ip = std::exchange(thread.restart_ip, 0);
  if (restart_ip == registers.rip && thread.call.spec == spec &&
      thread.call.args == arguments_of(registers)) {
    thread.in_call = true;  // the same call again after a signal: it has its number already
    return resume(thread, PTRACE_SYSCALL, 0);
  }

  thread.call = decode_call(thread.tid, *spec, arguments_of(registers));
  thread.recorded = recorder_ ? recorder_->before(thread.call) : RecordedCall{};
  const Decision decision = is_counted(thread) ? counter_.next() : Decision{};
  if (decision.number == 0 && !thread.recorded.wanted) return resume(thread, PTRACE_CONT, 0);

  thread.number = decision.number;
  thread.grows = decision.number != 0 && needs_space(thread.tid, thread.call);
  thread.asks = decision.number != 0 && asks_only(thread.tid, thread.call);
  thread.injected.clear();
  thread.in_call = true;
  if (decision.plan.action == Action::kKill && !decision.plan.after) {
    thread.injected = "kill";
    return kill_tree(thread);
  }
  inject(thread, decision, registers);
  resume(thread, PTRACE_SYSCALL, 0);
}

void Tracer::inject(Thread& thread, const Decision& decision, user_regs_struct& registers) {
  switch (decision.plan.action) {
    case Action::kKill:
      thread.kill_after = true;
      thread.injected = "kill-after";
      return;
    case Action::kError:
      return fail_call(thread, registers, decision.plan.error);
    case Action::kShort: {
      thread.saved = registers;
      thread.changed = shorten(thread.tid, thread.call, registers);
      thread.injected = thread.changed ? "short" : "none";
      if (thread.changed) set_registers(thread.tid, registers);
      return;
    }
    case Action::kNone:
      break;
  }
  if (decision.disk_full && thread.grows) fail_call(thread, registers, ENOSPC);
}

// The call is skipped (number -1) and its result is the error.
void Tracer::fail_call(Thread& thread, user_regs_struct& registers, int error) {
  if (thread.call.target == Target::kSocket) error = socket_error(thread.call, error);
  thread.injected = "error=" + std::to_string(error);
  registers.orig_rax = static_cast<unsigned long long>(-1);
  registers.rax = static_cast<unsigned long long>(-error);
  set_registers(thread.tid, registers);
}

void Tracer::on_call_exit(Thread& thread) {
  user_regs_struct registers{};
  if (!thread.in_call || !get_registers(thread.tid, registers)) {
    return resume(thread, PTRACE_CONT, 0);
  }
  thread.in_call = false;
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (thread.changed) {
    // System calls keep their argument registers; compiled code relies on it.
    const unsigned long long rax = registers.rax;
    const unsigned long long rip = registers.rip;
    registers = thread.saved;
    registers.rax = rax;
    registers.rip = rip;
    set_registers(thread.tid, registers);
    thread.changed = false;
  }
  if (result <= kErestartMax && result >= kErestartMin) {
    // The stop at entry and the one here show the same instruction pointer, as the second entry
    // will: the kernel steps back over the instruction, and the processor forward again.
    thread.restart_ip = registers.rip;
    return resume(thread, PTRACE_CONT, 0);
  }
  if (thread.recorded.wanted) {
    recorder_->after(thread.tid, thread.call, thread.recorded, result, thread.number);
  }
  if (thread.number != 0) log_call(thread, &result);
  if (thread.kill_after) {
    thread.number = 0;
    return kill_tree(thread);
  }
  resume(thread, PTRACE_CONT, 0);
}

bool Tracer::is_counted(const Thread& thread) const {
  const Call& call = thread.call;
  switch (call.spec->kind) {
    case Class::kMap:
      return false;
    case Class::kNet:
      if (call.target != Target::kSocket) return false;
      break;
    case Class::kData:
      if (call.target == Target::kOther) return false;
      break;
    case Class::kOpen:
    case Class::kMeta:
    case Class::kSync:
      if (call.target != Target::kFile) return false;
      break;
  }
  if (!call.places.empty()) {
    const auto counts = [this](const Place& place) {
      if (!options_.only_paths.empty()) return is_below(place.path, options_.only_paths);
      return !is_device_or_proc(place.path);
    };
    if (std::none_of(call.places.begin(), call.places.end(), counts)) return false;
  }
  if (options_.only_comms.empty()) return true;
  const std::string name = thread_name(thread.tid);
  return std::find(options_.only_comms.begin(), options_.only_comms.end(), name) !=
         options_.only_comms.end();
}

// A spared process is the leader of a session of its own or lives in such a leader's session.
bool Tracer::is_spared(const Thread& thread) const {
  if (options_.spare_comms.empty() || thread.group == root_) return false;
  const pid_t session = session_of(thread.group);
  if (session == 0 || session == root_session_) return false;
  const auto named = [this](pid_t pid) {
    const auto& names = options_.spare_comms;
    return std::find(names.begin(), names.end(), thread_name(pid)) != names.end();
  };
  return named(thread.group) || named(session);
}

bool Tracer::only_spared_left() const {
  if (options_.spare_comms.empty() || !root_gone_ || threads_.empty()) return false;
  return std::all_of(threads_.begin(), threads_.end(),
                     [this](const auto& entry) { return is_spared(entry.second); });
}

void Tracer::kill_tree(const Thread& cause) {
  counter_.stop();
  if (!options_.hook.empty()) {
    stop_others(cause);
    run_hook(cause);
  }
  if (cause.number != 0) log_call(cause, nullptr);
  killing_ = true;
  std::vector<pid_t> spared;
  for (auto& [tid, thread] : threads_) {
    if (is_spared(thread)) {
      spared.push_back(tid);
      continue;
    }
    if (tid != cause.tid && thread.in_call && thread.number != 0) log_call(thread, nullptr);
    kill(tid, SIGKILL);
  }
  for (pid_t tid : spared) {
    Thread& thread = threads_[tid];
    if (thread.stopped) resume(thread, thread.in_call ? PTRACE_SYSCALL : PTRACE_CONT, 0);
  }
}

void Tracer::stop_others(const Thread& cause) {
  // Spared threads go on: a stop taken from them here would lose the signal it carries.
  std::vector<pid_t> running;
  for (const auto& [tid, thread] : threads_) {
    if (thread.stopped || tid == cause.tid || is_spared(thread)) continue;
    trace(PTRACE_INTERRUPT, tid, 0);
    running.push_back(tid);
  }
  for (int waited = 0; !running.empty() && waited < kStopWaitMs; ++waited) {
    std::erase_if(running, [this](pid_t tid) {
      int status = 0;
      if (waitpid(tid, &status, __WALL | WNOHANG) == 0) return false;
      if (WIFEXITED(status) || WIFSIGNALED(status))
        on_gone(tid, status);
      else
        threads_[tid].stopped = true;
      return true;
    });
    if (!running.empty()) usleep(1000);
  }
}

void Tracer::run_hook(const Thread& cause) {
  const std::string number = std::to_string(cause.number);
  const pid_t child = fork();
  if (child == 0) {
    setenv("CAIRN_TRACER_CALL", number.c_str(), 1);
    setenv("CAIRN_TRACER_PID", std::to_string(root_).c_str(), 1);
    execl("/bin/sh", "sh", "-c", options_.hook.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child < 0 || status != 0) std::fprintf(stderr, "cairn_tracer: the hook failed\n");
}

void Tracer::on_gone(pid_t tid, int status) {
  threads_.erase(tid);
  if (tid == root_) {
    root_gone_ = true;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  if (!reported_ && only_spared_left()) {
    // Spared children keep their filter for life and need this tracer as long as they live.
    counter_.stop();
    finish_log();
    reported_ = true;
    report_({.code = killing_ ? 137 : exit_code_, .final = false});
  }
}

void Tracer::log_call(const Thread& thread, const std::int64_t* result) {
  if (log_fd_ < 0 || reported_) return;
  static constexpr const char* kKinds[] = {"open", "data", "meta", "sync", "net", "map"};
  const Call& call = thread.call;
  std::vector<std::string> paths;
  for (const Place& place : call.places) paths.push_back(place.path);
  JsonLine line;
  line.field("n", static_cast<std::int64_t>(thread.number));
  line.field("tid", thread.tid);
  line.field("comm", thread_name(thread.tid));
  line.field("call", call.spec->name);
  line.field("kind", kKinds[static_cast<std::size_t>(call.spec->kind)]);
  line.field("paths", paths);
  if (call.target == Target::kSocket) line.field("socket", 1);
  if (call.flags != 0) line.field("flags", static_cast<std::int64_t>(call.flags));
  if (call.length >= 0) line.field("len", call.length);
  if (thread.grows) line.field("grows", 1);
  if (thread.asks) line.field("asks", 1);
  if (result != nullptr)
    line.field("result", *result);
  else
    line.null_field("result");
  if (!thread.injected.empty()) line.field("injected", thread.injected);
  const std::string text = line.finish();
  if (write(log_fd_, text.data(), text.size()) < 0) std::perror("cairn_tracer: log");
}

void Tracer::finish_log() {
  if (log_fd_ < 0) return;
  const std::string text = "calls=" + std::to_string(counter_.count()) + "\n";
  if (write(log_fd_, text.data(), text.size()) < 0) std::perror("cairn_tracer: log");
}

}  // namespace cairn::crash
