#include "api/router.h"

#include <algorithm>
#include <exception>

#include "api/limits.h"
#include "api/problem.h"
#include "api/services.h"
#include "base/strings.h"

namespace cairn::api {

namespace {

std::string_view next_part(std::string_view& rest) {
  const std::size_t slash = rest.find('/');
  const std::string_view part = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  return part;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

Status check_right(const Route& route, const Caller& caller) {
  if (route.right == Right::kAnyone || caller.role == Role::kAdmin) return {};
  return Error(Code::kDenied, caller.name + " is neither root nor a member of the group cairn");
}

// A dry run changes nothing, so it needs no confirmation; a wrong one is refused all the same.
Status check_confirmation(const Route& route, const Request& request) {
  if (route.confirm.header.empty()) return {};
  const std::string& wanted = request.param(std::string(route.confirm.param));
  const std::string field = lower_case(route.confirm.header);
  if (!request.headers.has(field)) {
    TRY_ASSIGN(const bool dry_run, request.flag("dryRun"));
    if (dry_run && route.query.find("dryRun") != std::string_view::npos) return {};
  }
  if (request.headers.get(field) == wanted) return {};
  return Error(Code::kInvalid, "header " + std::string(route.confirm.header) + " must say " +
                                   printable(wanted) + ", as the path does");
}

}  // namespace

bool match(std::string_view pattern,
           std::string_view path,
           std::map<std::string, std::string>& params) {
  if (std::count(pattern.begin(), pattern.end(), '/') !=
      std::count(path.begin(), path.end(), '/')) {
    return false;
  }
  params.clear();
  while (!pattern.empty() || !path.empty()) {
    const std::string_view wanted = next_part(pattern);
    const std::string_view found = next_part(path);
    if (wanted.size() > 2 && wanted.front() == '{' && wanted.back() == '}') {
      if (found.empty()) return false;
      params.emplace(wanted.substr(1, wanted.size() - 2), found);
    } else if (wanted != found) {
      return false;
    }
  }
  return true;
}

Response Router::handle(Request& request) {
  Response response;
  try {
    response = route(request);
  } catch (const std::exception& failure) {
    response = problem(Error(Code::kInternal, std::string("handler threw: ") + failure.what()),
                       request.id);
  }
  services_.answers.by_class.at(
      static_cast<std::size_t>(std::clamp(response.status / 100, 0, 5))) += 1;
  return response;
}

std::optional<std::uint64_t> Router::spool_limit(const Request& head) const {
  for (const Route& route : routes_) {
    if (route.request_schema != kArchiveSchema || route.method != head.method) continue;
    std::map<std::string, std::string> params;
    if (!match(route.pattern, head.path, params)) continue;
    if (check_right(route, head.caller).ok()) return kSpoolBytesMax;
  }
  return std::nullopt;
}

Response Router::route(Request& request) {
  std::string allowed;
  const Route* found = nullptr;
  for (const Route& candidate : routes_) {
    std::map<std::string, std::string> params;
    if (!match(candidate.pattern, request.path, params)) continue;
    if (candidate.method == request.method) {
      found = &candidate;
      request.params = std::move(params);
      break;
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string(method_name(candidate.method));
  }
  if (found == nullptr && allowed.empty()) {
    return problem(Error(Code::kNotFound, "there is no " + printable(request.path)), request.id);
  }
  if (found == nullptr) {
    Response response = problem(
        405, Error(Code::kInvalid, printable(request.path) + " takes " + allowed), request.id);
    response.headers.add("Allow", allowed);
    return response;
  }
  if (auto may = check_right(*found, request.caller); !may.ok()) {
    return problem(may.error(), request.id);
  }
  if (auto confirmed = check_confirmation(*found, request); !confirmed.ok()) {
    return problem(confirmed.error(), request.id);
  }
  if (request.method != Method::kGet) {
    if (auto written = audit_(request, *found); !written.ok()) {
      return problem(written.error().with_context("write the audit trail"), request.id);
    }
  }
  return found->handler(services_, request);
}

}  // namespace cairn::api
