#include "catalog/error_json.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/error_map.h"
#include "base/strings.h"
#include "catalog/json.h"

namespace cairn::catalog {

namespace {

// JSON holds UTF-8 only; log lines and messages of the system may be anything.
std::string safe(const std::string& text) {
  return is_utf8(text) ? text : printable(text, text.size() * 4);
}

void put_text(nlohmann::json& record, const char* key, const std::string& text) {
  if (!text.empty()) record[key] = safe(text);
}

}  // namespace

nlohmann::json error_to_json(const Error& error) {
  const ErrorDetail& detail = error.detail();
  nlohmann::json record = {{"code", code_name(error.code())}, {"message", safe(error.message())}};
  if (!detail.reasons.empty()) {
    nlohmann::json& reasons = record["reasons"] = nlohmann::json::array();
    for (const Reason& reason : detail.reasons) {
      reasons.push_back({{"target", safe(reason.target)},
                         {"code", safe(reason.code)},
                         {"detail", safe(reason.detail)}});
    }
  }
  put_text(record, "holder", detail.holder);
  put_text(record, "probe", detail.probe);
  if (!detail.log_tail.empty()) {
    nlohmann::json& lines = record["log_tail"] = nlohmann::json::array();
    for (const std::string& line : detail.log_tail) lines.push_back(safe(line));
  }
  put_text(record, "data", detail.data);
  put_text(record, "operation", detail.operation);
  return record;
}

Error error_from_json(std::string_view text) {
  const nlohmann::json record = nlohmann::json::parse(text, nullptr, false);
  if (!record.is_object()) return {Code::kInternal, "the stored error cannot be read"};
  ErrorDetail detail;
  if (const auto reasons = record.find("reasons"); reasons != record.end()) {
    for (const nlohmann::json& reason : *reasons) {
      if (!reason.is_object()) continue;
      detail.reasons.push_back({.target = field_text(reason, "target"),
                                .code = field_text(reason, "code"),
                                .detail = field_text(reason, "detail")});
    }
  }
  detail.holder = field_text(record, "holder");
  detail.probe = field_text(record, "probe");
  if (const auto lines = record.find("log_tail"); lines != record.end()) {
    for (const nlohmann::json& line : *lines) {
      if (line.is_string()) detail.log_tail.push_back(line.get<std::string>());
    }
  }
  detail.data = field_text(record, "data");
  detail.operation = field_text(record, "operation");
  return {parse_code(field_text(record, "code")).value_or(Code::kInternal),
          field_text(record, "message"), std::move(detail)};
}

}  // namespace cairn::catalog
