// A blocking HTTP/1.1 client on a Unix socket: one connection a call, closed with it. Thread-safe.
// Errors: kUnavailable (no connection, time-out, cut off), kCorrupt (not HTTP, or past a limit),
// kCancelled. A status code is never an error here.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "net/http.h"
#include "os/fd.h"

namespace cairn::net {

inline constexpr int kConnectTimeoutMs = 5'000;
inline constexpr int kCallTimeoutMs = 60'000;
inline constexpr int kNoTimeout = -1;

struct CallOptions {
  int total_ms = kCallTimeoutMs;               // for the whole call; kNoTimeout: none
  int idle_ms = kNoTimeout;                    // for each read of the reply
  std::size_t body_bytes_max = kBodyBytesMax;  // of Response::body
  std::stop_token stop;
};

// Takes a piece of a body; false: that is enough, the connection is closed.
using BodySink = std::function<bool(std::string_view)>;

class UnixHttp {
 public:
  explicit UnixHttp(std::string socket_path) : socket_path_(std::move(socket_path)) {}

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

  // The whole reply.
  [[nodiscard]] Result<Response> call(const Request& request,
                                      const CallOptions& options = {}) const;

  // The body of a 2xx reply goes to the sink piece by piece; that of any other into the response.
  [[nodiscard]] Result<Response> stream(const Request& request,
                                        const CallOptions& options,
                                        const BodySink& sink) const;

  // What a 101 reply leaves behind: the connection and the bytes that came after the head.
  struct Upgraded {
    Response response;  // with its body where the server did not upgrade
    os::Fd connection;  // not valid where the server did not upgrade; non-blocking
    std::string early;
  };
  // Sends "Upgrade: protocol" and hands the connection over.
  [[nodiscard]] Result<Upgraded> upgrade(Request request,
                                         const std::string& protocol,
                                         const CallOptions& options) const;

 private:
  std::string socket_path_;
};

}  // namespace cairn::net
