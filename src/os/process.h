// A child process with a connected socket as its standard input and output.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/fd.h"

namespace cairn::os {

// Move only. The destructor closes the connection and reaps nothing: the child is meant to notice.
// One thread at a time.
class Child {
 public:
  // Runs argv[0] (an absolute path) in a session of its own, with one end of a socket pair as its
  // standard input and output; everything else but standard error is closed.
  static Result<Child> spawn_session(const std::vector<std::string>& argv);
  // The same with a file as its standard input; its standard output is the connection.
  static Result<Child> spawn_filter(const std::vector<std::string>& argv, const Fd& input);
  Child(Child&&) noexcept = default;
  Child& operator=(Child&&) noexcept = default;

  [[nodiscard]] const Fd& connection() const { return connection_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Waits for the end; the exit code, or 128 + signal. Call once.
  Result<int> wait();
  // Ends it now (SIGKILL); wait() tells when it has. Not after wait().
  void end() const;

 private:
  static Result<Child> spawn(const std::vector<std::string>& argv, const Fd* input);
  Child(pid_t pid, Fd connection) : pid_(pid), connection_(std::move(connection)) {}
  pid_t pid_;
  Fd connection_;
};

// A process that runs, whoever's child it is (pidfd_open(2)); an error where there is none.
Result<Fd> open_process(std::int64_t pid);
// Whether it has ended, after waiting timeout_ms at most for that.
Result<bool> has_ended(const Fd& process, int timeout_ms);

// Reads one line (without its newline) of at most 64 KiB, waiting timeout_ms at most; nothing at
// the end of the stream; kUnavailable on the time-out.
Result<std::optional<std::string>> read_line(const Fd& fd, int timeout_ms);

// A path that starts the running program again: this very file, also after an upgrade has replaced
// or removed it (proc(5), /proc/pid/exe).
inline constexpr const char* kOwnProgram = "/proc/self/exe";
// Tells systemd (sd_notify(3)) where NOTIFY_SOCKET names a socket; does nothing elsewhere.
void notify_service_manager(const std::string& text);

}  // namespace cairn::os
