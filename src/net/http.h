// HTTP/1.1 messages as a client sees them (RFC 9110, RFC 9112), and strict parsers for what a
// server sends. Pure: bytes in, values out. One thread at a time on one object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::net {

inline constexpr std::size_t kHeadBytesMax = 64 * 1024;  // status line and header fields
inline constexpr std::size_t kHeaderCountMax = 200;
inline constexpr std::size_t kBodyBytesMax = 16 * 1024 * 1024;  // of a reply kept in memory
inline constexpr std::size_t kChunkLineBytesMax = 256;          // size line of a chunk

struct Header {
  std::string name;
  std::string value;
  bool operator==(const Header&) const = default;
};

struct Request {
  std::string method = "GET";
  std::string target = "/";  // path and query, already encoded
  std::vector<Header> headers;
  std::string body;
  // A body too long for memory, in place of body: exactly size_bytes, read piece by piece.
  struct Source {
    std::uint64_t size_bytes = 0;
    // Fills the buffer as far as it can; 0 at the end.
    std::function<Result<std::size_t>(std::span<std::byte>)> read;
  };
  std::optional<Source> source = std::nullopt;
};

struct Response {
  int status = 0;
  std::string reason;
  std::vector<Header> headers;
  std::string body;
  // The first field of that name (in any case), or null.
  [[nodiscard]] const std::string* find(std::string_view name) const;
};

// Host, Content-Length and the terminating empty line are added; "Connection: close" too unless the
// request names a Connection. kInvalid where method, target or a field cannot be sent safely
// (control characters, spaces): nothing can be smuggled through a name. A source's bytes are not in
// it.
Result<std::string> format_request(const Request& request);

struct ParsedHead {
  Response response;           // without a body
  std::size_t size_bytes = 0;  // of the head, with its empty line
};
// The head of a response at the front of bytes; nothing while it is incomplete; kCorrupt where it
// breaks the grammar or a limit.
Result<std::optional<ParsedHead>> parse_response_head(std::string_view bytes);

// What follows a head. Fed with the connection's bytes as they come.
class BodyReader {
 public:
  // How long the body is (RFC 9112, 6.3). kCorrupt where the fields contradict each other.
  static Result<BodyReader> for_response(const Response& head, std::string_view method);

  // Takes all of bytes, passes the body's part to out. False from out ends the reading early
  // (stopped() is true). Bytes after the body's end are dropped: a connection serves one request.
  Status feed(std::string_view bytes, const std::function<bool(std::string_view)>& out);
  // The connection ended: kUnavailable where the body is not whole.
  Status end();
  [[nodiscard]] bool done() const { return phase_ == Phase::kDone; }
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  enum class Phase { kCounted, kUntilClose, kChunkSize, kChunkData, kChunkEnd, kTrailers, kDone };
  BodyReader(Phase phase, std::uint64_t left) : phase_(phase), left_(left) {}
  Status take_line(std::string_view& bytes, bool& whole);
  Status chunk_size();
  Status end_line();
  Phase phase_;
  std::uint64_t left_;
  std::size_t trailer_bytes_ = 0;
  std::string line_;
  bool stopped_ = false;
};

// Percent-encodes everything but unreserved characters (RFC 3986).
std::string url_encode(std::string_view text);

}  // namespace cairn::net
