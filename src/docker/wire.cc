#include "docker/wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "docker/json_read.h"

namespace cairn::docker {

namespace {

constexpr std::size_t kObjectNameBytesMax = 255;
constexpr std::size_t kIdDigits = 64;
constexpr std::size_t kIdDigitsShown = 12;

bool is_alpha_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The N of "1.N".
std::optional<int> api_minor(std::string_view version) {
  if (!version.starts_with("1.")) return std::nullopt;
  auto minor = parse_uint(version.substr(2));
  if (!minor || *minor > 1000) return std::nullopt;
  return static_cast<int>(*minor);
}

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(
      words, [text](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// Engines answer 500 for nearly everything they did not think of, so the words must decide.
Code code_of_500(std::string_view message) {
  // "Container X is not paused" (moby, daemon/unpause.go) is a state like any other conflict.
  if (contains_any(message, {"is not paused", "is already paused"})) return Code::kConflict;
  // What a stopping engine, or one whose containerd is gone, says; a later try may succeed.
  if (contains_any(message, {"is closing", "context canceled", "error while dialing",
                             "connection refused", "code = Unavailable"})) {
    return Code::kUnavailable;
  }
  if (contains_any(message, {"no space left on device"})) return Code::kNoSpace;
  return Code::kInternal;
}

Code code_of(int status, std::string_view message) {
  switch (status) {
    case 400:
      return Code::kInvalid;
    case 401:
    case 403:
      return Code::kDenied;
    case 404:
      return Code::kNotFound;
    case 409:
      return Code::kConflict;
    case 503:
      return Code::kUnavailable;
    case 500:
      return code_of_500(message);
    default:
      return Code::kInternal;
  }
}

}  // namespace

std::string query(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters) {
    text += fmt::format("{}{}={}", text.empty() ? '?' : '&', name, net::url_encode(value));
  }
  return text;
}

Status check_object_name(std::string_view name) {
  bool fine = !name.empty() && name.size() <= kObjectNameBytesMax && is_alpha_digit(name.front()) &&
              std::ranges::all_of(name, [](char c) {
                return is_alpha_digit(c) || c == '_' || c == '.' || c == '-';
              });
  if (!fine) return Error(Code::kInvalid, "not an engine's object name: " + printable(name));
  return {};
}

std::string with_short_ids(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  std::string out;
  while (!text.empty()) {
    const std::size_t digits =
        static_cast<std::size_t>(std::ranges::find_if_not(text, is_hex) - text.begin());
    const bool free = out.empty() || (out.back() != '/' && out.back() != ':');
    out += text.substr(
        0, digits == kIdDigits && free ? kIdDigitsShown : std::max<std::size_t>(digits, 1));
    text.remove_prefix(std::max<std::size_t>(digits, 1));
  }
  return out;
}

Error refusal(const net::Response& response) {
  std::string message;
  if (auto document = parse_json(response.body); document.ok()) {
    JsonFault fault;
    message = JsonReader(*document, fault).text("message");
  }
  if (message.empty()) message = trim(response.body);
  if (message.empty()) message = fmt::format("status {} {}", response.status, response.reason);
  message = with_short_ids(printable(message, kEngineMessageBytesMax));
  return {code_of(response.status, message), "engine: " + message};
}

Error EngineClient::Wire::unreachable(const Error& error) {
  // Another engine, with another version, may answer on this socket next time.
  if (error.code() == Code::kUnavailable) forget();
  return error.with_context("engine");
}

void EngineClient::Wire::forget() {
  std::scoped_lock lock(mutex_);
  api_.clear();
}

Result<EngineClient::Wire::Negotiated> EngineClient::Wire::negotiate() {
  auto reply = http_.call({.method = "GET", .target = "/_ping", .headers = {}, .body = {}});
  if (!reply.ok()) return unreachable(reply.error());
  if (reply->status >= 400) return refusal(*reply);
  const std::string* offered = reply->find("Api-Version");
  std::optional<int> minor = offered == nullptr ? std::nullopt : api_minor(*offered);
  if (!minor) return Error(Code::kCorrupt, "engine: its ping names no API version");
  if (*minor < kApiMinorMin) {
    return Error(
        Code::kUnavailable,
        fmt::format("engine: it speaks API {}, Cairn needs 1.{} or newer", *offered, kApiMinorMin));
  }

  Negotiated negotiated{.api = fmt::format("1.{}", std::min(*minor, kApiMinorMax)),
                        .api_max = *offered};
  std::scoped_lock lock(mutex_);
  api_ = negotiated.api;
  return negotiated;
}

Result<std::string> EngineClient::Wire::prefix() {
  {
    std::scoped_lock lock(mutex_);
    if (!api_.empty()) return "/v" + api_;
  }
  TRY_ASSIGN(Negotiated negotiated, negotiate());
  return "/v" + negotiated.api;
}

Result<net::Response> EngineClient::Wire::call(net::Request request,
                                               const net::CallOptions& options) {
  TRY_ASSIGN(std::string version, prefix());
  request.target.insert(0, version);
  auto reply = http_.call(request, options);
  if (!reply.ok()) return unreachable(reply.error());
  if (reply->status >= 400) return refusal(*reply);
  return reply;
}

Result<net::Response> EngineClient::Wire::call(const std::string& method,
                                               const std::string& path,
                                               const std::string& body,
                                               const net::CallOptions& options) {
  net::Request request{.method = method, .target = path, .headers = {}, .body = body};
  if (!body.empty())
    request.headers.push_back({.name = "Content-Type", .value = "application/json"});
  return call(std::move(request), options);
}

Status EngineClient::Wire::stream(net::Request request,
                                  const net::CallOptions& options,
                                  const net::BodySink& sink) {
  TRY_ASSIGN(std::string version, prefix());
  request.target.insert(0, version);
  auto reply = http_.stream(request, options, sink);
  if (!reply.ok()) return unreachable(reply.error());
  if (reply->status >= 400) return refusal(*reply);
  return {};
}

Result<nlohmann::json> EngineClient::Wire::get_json(const std::string& path) {
  TRY_ASSIGN(net::Response reply, call("GET", path));
  return parse_json(reply.body);
}

Status EngineClient::Wire::post(const std::string& path, const std::string& body, int total_ms) {
  net::CallOptions options;
  if (total_ms > 0) options.total_ms = total_ms;
  TRY(call("POST", path, body, options));
  return {};
}

}  // namespace cairn::docker
