// Stages of a call: connect -> send -> head (interim ones skipped) -> body -> close.
#include "net/unix_http.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/clock.h"
#include "os/socket.h"

namespace cairn::net {

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr int kInterimRepliesMax = 8;
// What a server answered before it stopped reading is on its way already.
constexpr int kReplyAfterFailedSendMs = 1000;

std::int64_t deadline_after(int ms) {
  return ms < 0 ? os::kNoDeadline : monotonic_ms() + ms;
}

std::int64_t earlier(std::int64_t a, std::int64_t b) {
  if (a == os::kNoDeadline) return b;
  return b == os::kNoDeadline ? a : std::min(a, b);
}

// One connection for one request.
class Exchange {
 public:
  static Result<Exchange> open(const std::string& path, const CallOptions& options) {
    std::int64_t total = deadline_after(options.total_ms);
    TRY_ASSIGN(
        os::Patience patience,
        os::Patience::until(earlier(total, deadline_after(kConnectTimeoutMs)), options.stop));
    TRY_ASSIGN(os::Fd connection, os::connect_unix(path, patience));
    return Exchange(std::move(connection), std::move(patience), total, options);
  }

  // Sends the request and reads the final head; what came after it stays in pending().
  Result<Response> head(const Request& request) {
    TRY_ASSIGN(const std::string text, format_request(request));
    patience_.set_deadline(total_);
    // A server may answer and close before it took the whole body: its answer counts for more than
    // the broken pipe.
    Status sent = os::send_all(connection_, as_bytes(text), patience_);
    bool ours = false;  // the source failed, not the connection
    if (sent.ok() && request.source) sent = send_source(*request.source, ours);
    if (!sent.ok() && (ours || sent.error().code() == Code::kCancelled)) return sent.error();
    if (!sent.ok()) total_ = earlier(total_, deadline_after(kReplyAfterFailedSendMs));
    Result<Response> response = read_head();
    if (!response.ok() && !sent.ok()) return sent.error();
    return response;
  }

  Status body(BodyReader& reader, const BodySink& sink) {
    TRY(reader.feed(pending_, sink));
    pending_.clear();
    while (!reader.done() && !reader.stopped()) {
      TRY_ASSIGN(std::string_view bytes, receive());
      if (bytes.empty()) return reader.end();
      TRY(reader.feed(bytes, sink));
    }
    return {};
  }

  os::Fd& connection() { return connection_; }
  std::string& pending() { return pending_; }

 private:
  Exchange(os::Fd connection, os::Patience patience, std::int64_t total, const CallOptions& options)
      : connection_(std::move(connection)),
        patience_(std::move(patience)),
        total_(total),
        idle_ms_(options.idle_ms),
        buffer_(kReadBytes) {}

  Status send_source(const Request::Source& source, bool& failed) {
    std::uint64_t left = source.size_bytes;
    while (left > 0) {
      auto size = source.read(std::span(buffer_).first(std::min<std::uint64_t>(left, kReadBytes)));
      failed = !size.ok() || *size == 0;
      if (!size.ok()) return size.error();
      if (failed) return Error(Code::kConflict, "the body became shorter while it was sent");
      TRY(os::send_all(connection_, ByteView(buffer_).first(*size), patience_));
      left -= *size;
    }
    return {};
  }

  Result<std::string_view> receive() {
    patience_.set_deadline(earlier(total_, deadline_after(idle_ms_)));
    TRY_ASSIGN(std::size_t size, os::receive_some(connection_, buffer_, patience_));
    return as_text(ByteView(buffer_).first(size));
  }

  Result<Response> read_head() {
    int interim = 0;
    while (true) {
      TRY_ASSIGN(std::optional<ParsedHead> head, parse_response_head(pending_));
      if (head) {
        pending_.erase(0, head->size_bytes);
        if (head->response.status >= 200 || head->response.status == 101) {
          return std::move(head->response);
        }
        if (++interim > kInterimRepliesMax)
          return Error(Code::kCorrupt, "too many interim replies");
        continue;
      }
      TRY_ASSIGN(std::string_view bytes, receive());
      if (bytes.empty()) return Error(Code::kUnavailable, "the connection ended before a reply");
      pending_ += bytes;
    }
  }

  os::Fd connection_;
  os::Patience patience_;
  std::int64_t total_;
  int idle_ms_;
  Bytes buffer_;
  std::string pending_;
};

// Reads the body into the response, up to a limit.
Status keep_body(Exchange& exchange,
                 BodyReader& reader,
                 std::size_t bytes_max,
                 Response& response) {
  bool too_long = false;
  TRY(exchange.body(reader, [&](std::string_view bytes) {
    too_long = response.body.size() + bytes.size() > bytes_max;
    if (!too_long) response.body += bytes;
    return !too_long;
  }));
  if (too_long) return Error(Code::kCorrupt, "the reply is too long");
  return {};
}

Result<Response> exchange_all(Exchange& exchange,
                              const Request& request,
                              const CallOptions& options,
                              const BodySink* sink) {
  TRY_ASSIGN(Response response, exchange.head(request));
  TRY_ASSIGN(BodyReader reader, BodyReader::for_response(response, request.method));
  bool streamed = sink != nullptr && response.status >= 200 && response.status < 300;
  if (streamed) {
    TRY(exchange.body(reader, *sink));
  } else if (response.status != 101) {
    TRY(keep_body(exchange, reader, options.body_bytes_max, response));
  }
  return response;
}

}  // namespace

Result<Response> UnixHttp::call(const Request& request, const CallOptions& options) const {
  TRY_ASSIGN(Exchange exchange, Exchange::open(socket_path_, options));
  return exchange_all(exchange, request, options, nullptr);
}

Result<Response> UnixHttp::stream(const Request& request,
                                  const CallOptions& options,
                                  const BodySink& sink) const {
  TRY_ASSIGN(Exchange exchange, Exchange::open(socket_path_, options));
  return exchange_all(exchange, request, options, &sink);
}

Result<UnixHttp::Upgraded> UnixHttp::upgrade(Request request,
                                             const std::string& protocol,
                                             const CallOptions& options) const {
  request.headers.push_back({.name = "Connection", .value = "Upgrade"});
  request.headers.push_back({.name = "Upgrade", .value = protocol});
  TRY_ASSIGN(Exchange exchange, Exchange::open(socket_path_, options));
  Upgraded upgraded;
  TRY_ASSIGN(upgraded.response, exchange_all(exchange, request, options, nullptr));
  if (upgraded.response.status == 101) {
    upgraded.connection = std::move(exchange.connection());
    upgraded.early = std::move(exchange.pending());
  }
  return upgraded;
}

}  // namespace cairn::net
