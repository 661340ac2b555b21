// ApiClient: the daemon's HTTP API as the command line uses it. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/unix_http.h"

namespace cairn::cli {

// An answer that is not a success, as problem+json (RFC 9457).
class Problem {
 public:
  Problem(int status, std::string body) : status_(status), body_(std::move(body)) {}
  // From an error on our side: no connection, a wrong file.
  explicit Problem(const Error& error);

  [[nodiscard]] Code code() const;
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] const std::string& body() const { return body_; }
  // One line a fact, for people.
  [[nodiscard]] std::string text() const;

 private:
  int status_;
  std::string body_;  // JSON text
};

struct Call {
  std::string method = "GET";
  std::string target;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<net::Request::Source> source = std::nullopt;  // in place of body
};

// "/api/workloads/" + the parts, each percent-encoded, with "/" between.
std::string path_of(std::string_view base, const std::vector<std::string_view>& parts);

class ApiClient {
 public:
  explicit ApiClient(std::string socket_path) : http_(std::move(socket_path)) {}

  struct Answer {
    int status = 0;
    std::string body;
    [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
  };
  // Waits as long as it takes. An error is a daemon that cannot be reached.
  [[nodiscard]] Result<Answer> call(const Call& call) const;

  // Passes each Server-Sent Event to take until it returns false, the stream ends or stop is
  // requested (kCancelled). An answer that is no stream is returned.
  using Take = std::function<bool(std::string_view event, std::string_view data)>;
  [[nodiscard]] Result<Answer> stream(const Call& call,
                                      const std::stop_token& stop,
                                      const Take& take) const;

  // Passes the bytes of a successful answer to take until it returns false; any other answer is
  // returned. kUnavailable where the bytes broke off.
  [[nodiscard]] Result<Answer> download(const Call& call, const net::BodySink& take) const;

 private:
  [[nodiscard]] Error unreachable(const Error& cause) const;
  net::UnixHttp http_;
};

}  // namespace cairn::cli
