// Unix stream sockets with deadlines and cancellation: what the HTTP client stands on.
// No call raises SIGPIPE; EINTR is handled. One thread at a time on one socket.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"
#include "os/fd.h"

namespace cairn::os {

inline constexpr std::int64_t kNoDeadline = -1;

// When a blocking call gives up: at a time of monotonic_ms() (kUnavailable), or when somebody asks
// to stop (kCancelled). A token without a stop source costs nothing and needs no thread. Move only.
class Patience {
 public:
  // deadline_ms: a time of monotonic_ms(), or kNoDeadline.
  static Result<Patience> until(std::int64_t deadline_ms, std::stop_token stop = {});
  Patience(Patience&&) noexcept;
  Patience& operator=(Patience&&) noexcept;
  ~Patience();

  void set_deadline(std::int64_t deadline_ms) { deadline_ms_ = deadline_ms; }

  enum class Ready { kRead, kWrite };
  // Returns when the socket is ready (or broken: the next call on it tells).
  [[nodiscard]] Status wait(const Fd& socket, Ready ready) const;
  // Sleeps ms milliseconds, less where the deadline is nearer (then it is kUnavailable).
  [[nodiscard]] Status nap(int ms) const;

 private:
  struct Alarm;
  Patience(std::int64_t deadline_ms, std::unique_ptr<Alarm> alarm);
  [[nodiscard]] Status wait_fd(int fd, short events, std::int64_t deadline_ms) const;
  std::int64_t deadline_ms_;
  std::unique_ptr<Alarm> alarm_;
};

// A connected, non-blocking socket. Nobody listening, or no such path: kUnavailable; a path that
// does not fit into a socket address: kInvalid.
Result<Fd> connect_unix(const std::string& path, const Patience& patience);
// The next connection of a listening socket, non-blocking.
Result<Fd> accept_one(const Fd& listener, const Patience& patience);
// A connected pair, both non-blocking.
Result<std::pair<Fd, Fd>> socket_pair();
// Sends all bytes. A peer that went away: kUnavailable.
Status send_all(const Fd& socket, ByteView bytes, const Patience& patience);
// Reads what is there, at least one byte; 0 at the end of the stream.
Result<std::size_t> receive_some(const Fd& socket,
                                 std::span<std::byte> buffer,
                                 const Patience& patience);
// Tells the peer that nothing more will be sent.
Status shut_down_sending(const Fd& socket);

}  // namespace cairn::os
