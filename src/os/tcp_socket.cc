#include "os/tcp_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace cairn::os {

Result<Fd> connect_tcp(const std::string& address, std::uint16_t port, const Patience& patience) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(port);
  const sockaddr* to = nullptr;
  socklen_t to_bytes = 0;
  if (::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    to = reinterpret_cast<const sockaddr*>(&v4);
    to_bytes = sizeof v4;
  } else if (::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    to = reinterpret_cast<const sockaddr*>(&v6);
    to_bytes = sizeof v6;
  } else {
    return Error(Code::kInvalid, "not a numeric address: " + address);
  }
  const std::string what = "connect " + address + " port " + std::to_string(port);

  Fd socket(::socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return os_error("socket", errno);
  if (::connect(socket.get(), to, to_bytes) == 0) return socket;
  const int connect_errno = errno;
  if (connect_errno != EINPROGRESS && connect_errno != EINTR) {
    return os_error(what, connect_errno).with_code(Code::kUnavailable);
  }
  TRY_CONTEXT(patience.wait(socket, Patience::Ready::kWrite), what);
  int outcome = 0;
  socklen_t outcome_bytes = sizeof outcome;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &outcome, &outcome_bytes) != 0) {
    return os_error(what, errno);
  }
  if (outcome != 0) return os_error(what, outcome).with_code(Code::kUnavailable);
  return socket;
}

}  // namespace cairn::os
