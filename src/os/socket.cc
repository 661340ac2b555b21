#include "os/socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>

#include "base/clock.h"

namespace cairn::os {

namespace {

// connect(2) on a Unix socket says EAGAIN while the listener's queue is full, and no poll tells
// when there is room again.
constexpr int kConnectRetryMs = 10;

Error unavailable(std::string_view what, int os_errno) {
  return os_error(what, os_errno).with_code(Code::kUnavailable);
}

// Milliseconds for poll(2): -1 without a deadline, 0 past it.
int poll_ms(std::int64_t deadline_ms) {
  if (deadline_ms == kNoDeadline) return -1;
  std::int64_t left = std::max<std::int64_t>(deadline_ms - monotonic_ms(), 0);
  return static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max()));
}

}  // namespace

// A stop request writes to an event descriptor that every poll watches too.
struct Patience::Alarm {
  struct Ring {
    int fd;
    void operator()() const {
      std::uint64_t one = 1;
      [[maybe_unused]] ssize_t written = ::write(fd, &one, sizeof one);
    }
  };

  Alarm(Fd made, std::stop_token stop)
      : event(std::move(made)), token(stop), callback(std::move(stop), Ring{event.get()}) {}

  Fd event;
  std::stop_token token;
  std::stop_callback<Ring> callback;  // last: it may ring while it is made
};

Patience::Patience(std::int64_t deadline_ms, std::unique_ptr<Alarm> alarm)
    : deadline_ms_(deadline_ms), alarm_(std::move(alarm)) {}
Patience::Patience(Patience&&) noexcept = default;
Patience& Patience::operator=(Patience&&) noexcept = default;
Patience::~Patience() = default;

Result<Patience> Patience::until(std::int64_t deadline_ms, std::stop_token stop) {
  if (!stop.stop_possible()) return Patience(deadline_ms, nullptr);
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return os_error("eventfd", errno);
  return Patience(deadline_ms, std::make_unique<Alarm>(std::move(event), std::move(stop)));
}

Status Patience::wait_fd(int fd, short events, std::int64_t deadline_ms) const {
  std::array<pollfd, 2> watched{
      pollfd{.fd = fd, .events = events, .revents = 0},
      pollfd{.fd = alarm_ ? alarm_->event.get() : -1, .events = POLLIN, .revents = 0}};
  while (true) {
    if (alarm_ && alarm_->token.stop_requested()) return Error(Code::kCancelled, "cancelled");
    int count = ::poll(watched.data(), watched.size(), poll_ms(deadline_ms));
    if (count < 0 && errno != EINTR) return os_error("poll", errno);
    if (count > 0 && watched[0].revents != 0) return {};
    if (count == 0) return Error(Code::kUnavailable, "timed out");
  }
}

Status Patience::wait(const Fd& socket, Ready ready) const {
  return wait_fd(socket.get(), ready == Ready::kRead ? POLLIN : POLLOUT, deadline_ms_);
}

Status Patience::nap(int ms) const {
  std::int64_t wake = monotonic_ms() + ms;
  if (deadline_ms_ != kNoDeadline && deadline_ms_ <= wake) return wait_fd(-1, 0, deadline_ms_);
  Status napped = wait_fd(-1, 0, wake);
  if (!napped.ok() && napped.error().code() != Code::kUnavailable) return napped;
  return {};
}

Result<Fd> connect_unix(const std::string& path, const Patience& patience) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error(Code::kInvalid, "a socket's path has 1 to 107 bytes: " + path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());

  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return os_error("socket", errno);
  while (true) {
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return socket;
    }
    int connect_errno = errno;
    if (connect_errno == EISCONN) return socket;
    if (connect_errno == EINTR) continue;
    if (connect_errno != EAGAIN) {
      if (connect_errno == EACCES || connect_errno == EPERM) {
        return os_error("connect " + path, connect_errno);
      }
      return unavailable("connect " + path, connect_errno);
    }
    TRY_CONTEXT(patience.nap(kConnectRetryMs), "connect " + path);
  }
}

Result<Fd> accept_one(const Fd& listener, const Patience& patience) {
  while (true) {
    TRY_CONTEXT(patience.wait(listener, Patience::Ready::kRead), "accept");
    Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection.valid()) return connection;
    int accept_errno = errno;
    // Somebody else took it, or it was gone before we came (accept(2)).
    if (accept_errno != EINTR && accept_errno != EAGAIN && accept_errno != ECONNABORTED) {
      return os_error("accept", accept_errno);
    }
  }
}

Result<std::pair<Fd, Fd>> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return os_error("socketpair", errno);
  }
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

Status send_all(const Fd& socket, ByteView bytes, const Patience& patience) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    int send_errno = errno;
    if (send_errno == EINTR) continue;
    if (send_errno != EAGAIN) return unavailable("send", send_errno);
    TRY_CONTEXT(patience.wait(socket, Patience::Ready::kWrite), "send");
  }
  return {};
}

Result<std::size_t> receive_some(const Fd& socket,
                                 std::span<std::byte> buffer,
                                 const Patience& patience) {
  CHECK(!buffer.empty());
  while (true) {
    // Asked before each read: a peer that never stops sending must not outlast a stop request.
    TRY_CONTEXT(patience.wait(socket, Patience::Ready::kRead), "receive");
    ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (count >= 0) return static_cast<std::size_t>(count);
    int receive_errno = errno;
    if (receive_errno == EINTR || receive_errno == EAGAIN) continue;
    return unavailable("receive", receive_errno);
  }
}

Status shut_down_sending(const Fd& socket) {
  if (::shutdown(socket.get(), SHUT_WR) != 0) return os_error("shutdown", errno);
  return {};
}

}  // namespace cairn::os
