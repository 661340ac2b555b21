#include "apps/cairn/api_client.h"

#include <nlohmann/json.hpp>

#include "apps/cairn/output.h"
#include "apps/cairn/sse.h"
#include "base/error_map.h"
#include "net/http.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

constexpr std::size_t kAnswerBytesMax = std::size_t{64} << 20U;

std::string text_of(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
}

net::Request request_of(const Call& call) {
  net::Request request{
      .method = call.method, .target = call.target, .headers = {}, .body = call.body};
  request.source = call.source;
  if (!call.body.empty() || call.source)
    request.headers.push_back({"Content-Type", call.content_type});
  for (const auto& [name, value] : call.headers) request.headers.push_back({name, value});
  return request;
}

}  // namespace

Problem::Problem(const Error& error) : status_(http_status(error.code())) {
  const json body = {{"type", "urn:cairn:problem:" + std::string(code_name(error.code()))},
                     {"title", code_title(error.code())},
                     {"status", status_},
                     {"code", code_name(error.code())},
                     {"detail", error.message()}};
  body_ = dump(body);
}

namespace {

// What detail says before it tells its first reason: those follow line by line. All of it where
// nothing comes before.
std::string without_reasons(const std::string& detail, const json& reasons) {
  if (reasons.empty()) return detail;
  const std::string target = text_of(reasons[0], "target");
  const std::size_t told = detail.find(text_of(reasons[0], "detail"));
  if (told == std::string::npos) return detail;
  std::string head = detail.substr(0, told);
  const auto drop_end = [&head](std::string_view end) {
    const bool there = !end.empty() && head.ends_with(end);
    if (there) head.resize(head.size() - end.size());
    return there;
  };
  drop_end(": ") || drop_end(" ");
  drop_end(target);
  drop_end(": ") || drop_end("; ") || drop_end(";");
  return head.empty() ? detail : head;
}

}  // namespace

Code Problem::code() const {
  const json body = json::parse(body_, nullptr, false);
  if (body.is_object()) {
    if (const auto code = parse_code(text_of(body, "code")); code.has_value()) return *code;
  }
  return code_of_status(status_);
}

std::string Problem::text() const {
  const json body = json::parse(body_, nullptr, false);
  if (!body.is_object()) {
    return "HTTP status " + std::to_string(status_) + (body_.empty() ? "" : ": " + body_);
  }
  std::string out = text_of(body, "detail");
  if (out.empty()) out = text_of(body, "title");
  if (const auto reasons = body.find("reasons"); reasons != body.end() && reasons->is_array()) {
    // One that is said already needs no line of its own.
    const bool said = reasons->size() == 1 && out.ends_with(text_of((*reasons)[0], "detail")) &&
                      without_reasons(out, *reasons) == out;
    if (!said) out = without_reasons(out, *reasons);
    for (const json& reason : said ? json::array() : *reasons) {
      const std::string target = text_of(reason, "target");
      out += "\n  " + (target.empty() ? std::string() : target + ": ") + text_of(reason, "detail") +
             " [" + text_of(reason, "code") + "]";
    }
  }
  if (const std::string holder = text_of(body, "holder"); !holder.empty()) {
    if (out.find(holder) == std::string::npos) out += "\n  held by: " + holder;
    out +=
        holder == "recovering"
            ? "\n  it is free when the recovery ends; cairn system fsck tells what that waits for"
            : "\n  try again when that has ended, or with --wait where the command has it";
  }
  if (const std::string probe = text_of(body, "probe");
      !probe.empty() && out.find(probe) == std::string::npos) {
    out += "\n  last probe: " + probe;
  }
  if (const std::string data = text_of(body, "data"); !data.empty()) {
    out += "\n  live data: the " + data + " one";
  }
  if (const auto tail = body.find("log_tail"); tail != body.end() && tail->is_array()) {
    out += "\n  last lines of its log:";
    for (const json& line : *tail) {
      if (line.is_string()) out += "\n    " + line.get<std::string>();
    }
  }
  const std::string operation = text_of(body, "operation");
  if (!operation.empty()) out += "\n  operation: " + operation;
  if (status_ == 500) {
    const std::string request = text_of(body, "request");
    out += "\n  the daemon's log says more, by " + (request.empty() ? operation : request);
  }
  return out;
}

std::string path_of(std::string_view base, const std::vector<std::string_view>& parts) {
  std::string path(base);
  for (const std::string_view part : parts) path += "/" + net::url_encode(part);
  return path;
}

Error ApiClient::unreachable(const Error& cause) const {
  if (cause.code() == Code::kCancelled) return cause;
  if (cause.code() == Code::kDenied) {
    return Error(Code::kDenied,
                 "the daemon's socket " + http_.socket_path() + " is for root and the group cairn");
  }
  return cause.with_context("ask cairnd at " + http_.socket_path());
}

Result<ApiClient::Answer> ApiClient::call(const Call& call) const {
  auto response = http_.call(request_of(call), {.total_ms = net::kNoTimeout,
                                                .idle_ms = net::kNoTimeout,
                                                .body_bytes_max = kAnswerBytesMax,
                                                .stop = {}});
  if (!response.ok()) return unreachable(response.error());
  return Answer{.status = response->status, .body = std::move(response->body)};
}

Result<ApiClient::Answer> ApiClient::download(const Call& call, const net::BodySink& take) const {
  auto response = http_.stream(request_of(call),
                               {.total_ms = net::kNoTimeout,
                                .idle_ms = net::kNoTimeout,
                                .body_bytes_max = kAnswerBytesMax,
                                .stop = {}},
                               take);
  if (!response.ok()) return unreachable(response.error());
  return Answer{.status = response->status, .body = std::move(response->body)};
}

Result<ApiClient::Answer> ApiClient::stream(const Call& call,
                                            const std::stop_token& stop,
                                            const Take& take) const {
  net::Request request = request_of(call);
  request.headers.push_back({"Accept", "text/event-stream"});
  SseParser parser;
  auto response =
      http_.stream(request,
                   {.total_ms = net::kNoTimeout,
                    .idle_ms = net::kNoTimeout,
                    .body_bytes_max = kAnswerBytesMax,
                    .stop = stop},
                   [&parser, &take](std::string_view bytes) { return parser.feed(bytes, take); });
  if (!response.ok()) return unreachable(response.error());
  return Answer{.status = response->status, .body = std::move(response->body)};
}

}  // namespace cairn::cli
