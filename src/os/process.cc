#include "os/process.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"

extern char** environ;

namespace cairn::os {

namespace {

constexpr std::size_t kLineBytesMax = 65536;

struct SpawnSettings {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

}  // namespace

Result<Child> Child::spawn_session(const std::vector<std::string>& argv) {
  return spawn(argv, nullptr);
}

Result<Child> Child::spawn_filter(const std::vector<std::string>& argv, const Fd& input) {
  return spawn(argv, &input);
}

Result<Child> Child::spawn(const std::vector<std::string>& argv, const Fd* input) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return os_error("socketpair", errno);
  }
  Fd ours(pair[0]);
  const Fd theirs(pair[1]);

  SpawnSettings settings;
  posix_spawn_file_actions_adddup2(&settings.actions, (input == nullptr ? theirs : *input).get(),
                                   STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&settings.actions, theirs.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, 3);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);

  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawn(&pid, argv[0].c_str(), &settings.actions, &settings.attributes,
                                   arguments.data(), environ);
  if (failed != 0) return os_error("start " + argv[0], failed);
  return Child(pid, std::move(ours));
}

void Child::end() const {
  ::kill(pid_, SIGKILL);
}

Result<int> Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return os_error("waitpid", errno);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<std::optional<std::string>> read_line(const Fd& fd, int timeout_ms) {
  std::string line;
  const std::int64_t deadline = monotonic_ms() + timeout_ms;
  while (line.size() < kLineBytesMax) {
    const std::int64_t left = deadline - monotonic_ms();
    if (left < 0) return Error(Code::kUnavailable, "no answer in time");
    pollfd waiting{.fd = fd.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return os_error("poll", errno);
    if (ready <= 0) continue;
    char c = 0;
    const ssize_t n = ::read(fd.get(), &c, 1);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == ECONNRESET) return std::optional<std::string>();
      return os_error("read", errno);
    }
    if (n == 0) return std::optional<std::string>();
    if (c == '\n') return std::optional<std::string>(std::move(line));
    line += c;
  }
  return Error(Code::kInvalid, "line is longer than allowed");
}

Result<Fd> open_process(std::int64_t pid) {
  // By number: the header of glibc 2.36 declares the function for C only.
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0));
  if (fd < 0) return os_error("pidfd_open", errno);
  return Fd(fd);
}

Result<bool> has_ended(const Fd& process, int timeout_ms) {
  const std::int64_t deadline_ms = monotonic_ms() + timeout_ms;
  for (;;) {
    pollfd poll{.fd = process.get(), .events = POLLIN, .revents = 0};
    const std::int64_t left_ms = std::max<std::int64_t>(deadline_ms - monotonic_ms(), 0);
    const int ready = ::poll(&poll, 1, static_cast<int>(left_ms));
    if (ready >= 0) return ready > 0;
    if (errno != EINTR) return os_error("poll", errno);
  }
}

void notify_service_manager(const std::string& text) {
  const char* where = std::getenv("NOTIFY_SOCKET");
  if (where == nullptr || where[0] == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(where);
  if (length >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, where, length);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // the abstract namespace
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return;
  // Best effort by contract: a service manager that does not listen changes nothing for us.
  (void)::sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

}  // namespace cairn::os
