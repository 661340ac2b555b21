// What a handler sees of HTTP: a request, a response, a stream of events. Values; the server is the
// only part that knows how they travel.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/spool.h"
#include "base/result.h"

namespace cairn::api {

enum class Method { kGet, kPost, kPut, kDelete };
std::string_view method_name(Method method);

// What a caller may do, from how it came in.
enum class Role { kNone, kAdmin };

struct Caller {
  Role role = Role::kNone;
  std::string name;  // for the audit trail: "uid:0"
};

// Header fields by lower-case name, in order of arrival.
class Headers {
 public:
  void add(std::string_view name, std::string_view value);
  // The first value of a field; empty where it is missing. The name is lower-case.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& all() const {
    return fields_;
  }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct Request {
  Method method = Method::kGet;
  std::string id;    // of this request, for the log and for answers that tell no more
  std::string path;  // decoded, without the query
  std::map<std::string, std::string> query;
  Headers headers;
  std::string body;
  std::shared_ptr<const Spool> spooled;  // in place of body, where the route's bodies are spooled
  Caller caller;
  std::map<std::string, std::string> params;  // of the route's pattern, set by the router

  // A parameter of the pattern; the router guarantees that it is there.
  [[nodiscard]] const std::string& param(const std::string& name) const { return params.at(name); }
  // "1", "true" and "" (a bare ?name) are true; "0", "false" and nothing are not; else kInvalid.
  [[nodiscard]] Result<bool> flag(const std::string& name) const;
  // A number of at most max; fallback where it is missing; kInvalid otherwise.
  [[nodiscard]] Result<std::uint64_t> number(const std::string& name,
                                             std::uint64_t fallback,
                                             std::uint64_t max) const;
};

// Splits and decodes a request target ("/api/x?y=1", RFC 3986) into path and query; kInvalid where
// an escape is broken, a NUL is hidden in it, or a bound is passed.
Status parse_target(std::string_view target, Request& request);

// Server-Sent Events (WHATWG HTML, 9.2). One thread at a time.
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Sends one event; data may hold several lines, an empty id is left out. Waits until it is on its
  // way; kCancelled once the client is gone or the daemon stops.
  virtual Status send(std::string_view event, std::string_view data, std::string_view id) = 0;
  // A comment line that clients ignore.
  virtual Status keep_alive() = 0;
  // Requested once the client is gone or the daemon stops.
  [[nodiscard]] virtual std::stop_token stop() const = 0;
};

// Takes a piece of a body; kCancelled once the client is gone or the daemon stops.
using BodySink = std::function<Status(std::string_view)>;

struct Response {
  int status = 200;
  Headers headers;
  std::string content_type = "application/json";
  std::string body;
  // At most one of these. All run on a thread that may wait, not on one of the few that run
  // handlers. later gives the real answer; the token is requested once the client is gone or the
  // daemon stops. stream sends what comes after the header. source gives a body piece by piece, of
  // content_type; where it fails the connection is cut, so that nobody takes the body for whole.
  std::function<Response(std::stop_token)> later;
  std::function<void(EventStream&)> stream;
  std::function<Status(const BodySink&, const std::stop_token&)> source;
};

using Handler = std::function<Response(Request&)>;

}  // namespace cairn::api
