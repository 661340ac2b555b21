#include "workload/probe.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/strings.h"
#include "os/tcp_socket.h"
#include "workload/limits.h"

namespace cairn::workload {
namespace {

// "HTTP/1.x SP 3DIGIT"; nothing for any other line.
std::optional<int> parse_status_line(std::string_view line) {
  constexpr std::size_t kCodeAt = 9;  // after "HTTP/1.1 "
  if (!line.starts_with("HTTP/1.") || line.size() < kCodeAt + 3 || line[kCodeAt - 1] != ' ') {
    return std::nullopt;
  }
  const auto code = parse_uint(line.substr(kCodeAt, 3));
  if (!code.has_value() || *code < 100 || *code > 599) return std::nullopt;
  return static_cast<int>(*code);
}

}  // namespace

Result<int> probe_http(const ProbeTarget& target,
                       const std::string& path,
                       std::int64_t timeout_ms,
                       std::stop_token stop) {
  TRY_ASSIGN(const os::Patience patience,
             os::Patience::until(monotonic_ms() + timeout_ms, std::move(stop)));
  TRY_ASSIGN(const os::Fd socket, os::connect_tcp(target.address, target.port, patience));
  const bool v6 = target.address.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + target.address + "]" : target.address;
  const std::string request = fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: cairn-health\r\nAccept: */*\r\n"
      "Connection: close\r\n\r\n",
      path, host, target.port);
  TRY(os::send_all(socket, as_bytes(request), patience));

  std::string reply;
  std::array<std::byte, 1024> buffer{};
  while (reply.find('\n') == std::string::npos) {
    if (reply.size() > kProbeReplyBytesMax) {
      return Error(Code::kInvalid, "the answer's first line is too long");
    }
    TRY_ASSIGN(const std::size_t count, os::receive_some(socket, buffer, patience));
    if (count == 0) return Error(Code::kUnavailable, "the connection closed without an answer");
    reply += as_text(ByteView(buffer).first(count));
  }
  const auto code = parse_status_line(std::string_view(reply).substr(0, reply.find('\n')));
  if (!code.has_value()) return Error(Code::kInvalid, "the answer is not HTTP");
  return *code;
}

Status probe_tcp(const ProbeTarget& target, std::int64_t timeout_ms, std::stop_token stop) {
  TRY_ASSIGN(const os::Patience patience,
             os::Patience::until(monotonic_ms() + timeout_ms, std::move(stop)));
  TRY(os::connect_tcp(target.address, target.port, patience));
  return {};
}

}  // namespace cairn::workload
