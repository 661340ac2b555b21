// Router: finds the route of a request, and is the one place where rights, confirmation headers and
// the audit trail are enforced: no handler runs before them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/http.h"
#include "base/result.h"

namespace cairn::api {

struct Services;

enum class Right { kAnyone, kAdmin };

// A destructive call repeats in a header what it destroys: the value of a path parameter.
struct Confirm {
  std::string_view header;  // as written in the documentation; empty: none is asked for
  std::string_view param;   // without braces
};

// The schema of bodies that are archives: long bytes, in a request spooled to a file.
inline constexpr std::string_view kArchiveSchema = "Archive";

// One line of the table. Schema names are those of the OpenAPI document, empty where there is none.
struct Route {
  Method method;
  std::string_view pattern;  // "/api/workloads/{id}"
  Right right;
  std::string_view action;  // operation id, and the action in the audit trail
  std::string_view summary;
  std::string_view request_schema;
  std::string_view response_schema;
  int success;  // the status of success
  Confirm confirm;
  std::string_view query;  // names, separated by spaces
  Response (*handler)(Services&, Request&);
};

// Thread-safe.
class Router {
 public:
  // Writes the audit trail: who, which route, about what. A failure stops the call.
  using Audit = std::function<Status(const Request&, const Route&)>;

  Router(std::span<const Route> routes, Services& services, Audit audit)
      : routes_(routes), services_(services), audit_(std::move(audit)) {}

  // Checks in this order: route 404, method 405, right 403, confirmation 400, audit; then the
  // handler. Never throws.
  Response handle(Request& request);

  // The SpoolRule of this table: routes that take an Archive have their bodies spooled, for callers
  // that may use them.
  [[nodiscard]] std::optional<std::uint64_t> spool_limit(const Request& head) const;

 private:
  Response route(Request& request);

  std::span<const Route> routes_;
  Services& services_;
  Audit audit_;
};

// True where path fits the pattern; params get the parts that stand for {names}.
bool match(std::string_view pattern,
           std::string_view path,
           std::map<std::string, std::string>& params);

}  // namespace cairn::api
