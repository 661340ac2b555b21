#include "api/problem.h"

#include <nlohmann/json.hpp>

#include "api/limits.h"
#include "base/error_map.h"
#include "base/log.h"

namespace cairn::api {

using nlohmann::json;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json problem_json(const Error& error, int status, const std::string& request_id) {
  const ErrorDetail& detail = error.detail();
  json body = {{"type", "urn:cairn:problem:" + std::string(code_name(error.code()))},
               {"title", code_title(error.code())},
               {"status", status},
               {"code", code_name(error.code())}};
  if (!request_id.empty()) body["request"] = request_id;
  if (!detail.operation.empty()) body["operation"] = detail.operation;
  if (status == 500) return body;

  body["detail"] = error.message();
  if (!detail.reasons.empty()) {
    json reasons = json::array();
    for (const Reason& reason : detail.reasons) {
      reasons.push_back(
          {{"target", reason.target}, {"code", reason.code}, {"detail", reason.detail}});
    }
    body["reasons"] = std::move(reasons);
  }
  if (!detail.holder.empty()) body["holder"] = detail.holder;
  if (!detail.probe.empty()) body["probe"] = detail.probe;
  if (!detail.log_tail.empty()) body["log_tail"] = detail.log_tail;
  if (!detail.data.empty()) body["data"] = detail.data;
  return body;
}

Response problem(int status, const Error& error, const std::string& request_id) {
  if (status == 500) {
    log::error("request {}{}{}: {}", request_id, error.detail().operation.empty() ? "" : " of ",
               error.detail().operation, error.message());
  }
  Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.body = dump(problem_json(error, status, request_id));
  if (error.code() == Code::kBusy || status == 503) {
    response.headers.add("Retry-After", std::to_string(kRetryAfterSeconds));
  }
  return response;
}

Response problem(const Error& error, const std::string& request_id) {
  return problem(http_status(error.code()), error, request_id);
}

Response json_response(const json& body, int status) {
  Response response;
  response.status = status;
  response.body = dump(body);
  return response;
}

Response no_content() {
  Response response;
  response.status = 204;
  return response;
}

}  // namespace cairn::api
