// EngineClient::Wire: one call to the engine, with the negotiated version in its path and the
// engine's refusals as errors. Thread-safe.
#pragma once

#include <initializer_list>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "docker/client.h"
#include "net/unix_http.h"

namespace cairn::docker {

inline constexpr int kApiMinorMin = 40;
inline constexpr int kApiMinorMax = 51;
inline constexpr std::size_t kEngineMessageBytesMax = 1000;

// "?a=1&b=two", values percent-encoded; empty without parameters.
std::string query(const std::vector<std::pair<std::string, std::string>>& parameters);

// kInvalid unless name is what the engine takes as the name or id of a container, volume or
// network: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 255 bytes. Nothing else gets into a request's path.
Status check_object_name(std::string_view name);

// The text with whole ids of containers as people know them, by their first digits. What stands in
// a path or behind "sha256:" is left as it is.
std::string with_short_ids(std::string_view text);

class EngineClient::Wire {
 public:
  explicit Wire(std::string socket_path) : http_(std::move(socket_path)) {}

  // path begins with "/" and has its query. The body is a JSON text or empty. Statuses of 400 and
  // above are errors.
  Result<net::Response> call(const std::string& method,
                             const std::string& path,
                             const std::string& body = {},
                             const net::CallOptions& options = {});
  Result<net::Response> call(net::Request request, const net::CallOptions& options);
  // A 2xx body goes to the sink.
  Status stream(net::Request request, const net::CallOptions& options, const net::BodySink& sink);
  Result<nlohmann::json> get_json(const std::string& path);

  // A changing call that answers nothing of interest.
  Status post(const std::string& path, const std::string& body = {}, int total_ms = 0);

  // Asks again; what is kept is replaced.
  struct Negotiated {
    std::string api;      // "1.41"
    std::string api_max;  // of the engine
  };
  Result<Negotiated> negotiate();

 private:
  Result<std::string> prefix();
  void forget();
  Error unreachable(const Error& error);

  const net::UnixHttp http_;
  std::mutex mutex_;
  std::string api_;  // guarded; empty: not negotiated
};

// The error behind a refusal: its code by status, its words from the engine's "message".
Error refusal(const net::Response& response);

}  // namespace cairn::docker
