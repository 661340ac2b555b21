#include "os/signals.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace cairn::os {

namespace {

sigset_t set_of(const std::vector<int>& signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

Status change_mask(int how, const std::vector<int>& signals) {
  const sigset_t set = set_of(signals);
  const int failed = ::pthread_sigmask(how, &set, nullptr);
  if (failed != 0) return os_error("change the signal mask", failed);
  return {};
}

}  // namespace

Status block_signals(const std::vector<int>& signals) {
  return change_mask(SIG_BLOCK, signals);
}

Status unblock_signals(const std::vector<int>& signals) {
  return change_mask(SIG_UNBLOCK, signals);
}

Result<std::optional<int>> wait_signal(const std::vector<int>& signals, int timeout_ms) {
  const sigset_t set = set_of(signals);
  const timespec timeout{.tv_sec = timeout_ms / 1000,
                         .tv_nsec = static_cast<long>(timeout_ms % 1000) * 1'000'000L};
  const int taken = ::sigtimedwait(&set, nullptr, &timeout);
  if (taken > 0) return std::optional<int>(taken);
  const int saved = errno;
  if (saved == EAGAIN || saved == EINTR) return std::optional<int>();
  return os_error("wait for a signal", saved);
}

void ignore_broken_pipes() {
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  // Cannot fail for a valid signal number.
  (void)::sigaction(SIGPIPE, &ignore, nullptr);
}

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

int terminal_columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

namespace {

constexpr char kInterrupt = 3;
constexpr char kEndOfInput = 4;
constexpr char kBackspace = 8;
constexpr char kDelete = 127;

Result<std::string> read_typed(std::size_t bytes_max) {
  std::string line;
  for (;;) {
    char typed = 0;
    const ssize_t got = ::read(STDIN_FILENO, &typed, 1);
    const int saved = errno;
    if (got < 0 && saved == EINTR) continue;
    if (got < 0) return os_error("read from the terminal", saved);
    if (got == 0 || typed == kInterrupt || typed == kEndOfInput || line.size() == bytes_max) {
      return Error(Code::kCancelled, "nothing was typed");
    }
    if (typed == '\n' || typed == '\r') return line;
    if (typed != kBackspace && typed != kDelete) {
      line += typed;
    } else if (!line.empty()) {
      line.pop_back();
    }
  }
}

}  // namespace

Result<std::string> read_hidden_line(std::string_view question, std::size_t bytes_max) {
  termios before{};
  if (::tcgetattr(STDIN_FILENO, &before) != 0) return os_error("look at the terminal", errno);
  termios hidden = before;
  // Signals too: a Ctrl-C that ended the process would leave the terminal without its echo.
  hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | ISIG);
  if (::tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) != 0) {
    return os_error("change the terminal", errno);
  }
  // Only now, so that nothing is shown of what is typed at once.
  Result<std::string> line = Error(Code::kCancelled, "nobody could be asked");
  if (::write(STDERR_FILENO, question.data(), question.size()) >= 0) line = read_typed(bytes_max);
  if (::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before) != 0) {
    return os_error("change the terminal back", errno);
  }
  return line;
}

}  // namespace cairn::os
