#include "api/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/limits.h"
#include "base/strings.h"
#include "codec/json_scan.h"

namespace cairn::api {

using nlohmann::json;

namespace {

// Lists of tokens as in Prefer and Accept: "a, b; q=1".
bool names(std::string_view field, std::string_view token) {
  for (const std::string& item : split(field, ',')) {
    const std::string_view name = std::string_view(item).substr(0, item.find(';'));
    if (trim(name) == token) return true;
  }
  return false;
}

}  // namespace

Result<Body> Body::parse(const std::string& text) {
  if (trim(text).empty()) return Body(std::make_unique<json>(json::object()));
  const std::string fault = codec::scan_json(text).fault();
  if (!fault.empty()) return Error(Code::kInvalid, "the body " + fault);
  auto parsed = std::make_unique<json>(json::parse(text, nullptr, false));
  if (parsed->is_discarded()) return Error(Code::kInvalid, "the body is not JSON");
  if (!parsed->is_object()) return Error(Code::kInvalid, "the body is not a JSON object");
  return Body(std::move(parsed));
}

Body::Body(std::unique_ptr<json> object) : object_(std::move(object)) {}
Body::Body(Body&&) noexcept = default;
Body& Body::operator=(Body&&) noexcept = default;
Body::~Body() = default;

const json* Body::find(const std::string& field) {
  known_.insert(field);
  const auto found = object_->find(field);
  return found == object_->end() ? nullptr : &*found;
}

void Body::fault(const std::string& field, const std::string& sentence) {
  faults_.push_back({.target = field, .code = "invalid", .detail = sentence});
}

bool Body::has(const std::string& field) const {
  return object_->contains(field);
}

void Body::require(const std::string& field) {
  if (!has(field)) fault(field, "is missing");
}

std::string Body::text(const std::string& field, std::string fallback) {
  const json* value = find(field);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  fault(field, "must be a text");
  return fallback;
}

bool Body::flag(const std::string& field) {
  const json* value = find(field);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  fault(field, "must be true or false");
  return false;
}

std::string Body::scalar(const std::string& field) {
  const json* value = find(field);
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  if (value->is_number_integer()) return value->dump();
  fault(field, "must be a text or a whole number");
  return {};
}

std::vector<std::string> Body::list(const std::string& field, std::size_t max) {
  const json* value = find(field);
  std::vector<std::string> out;
  if (value == nullptr) return out;
  if (!value->is_array() || value->size() > max) {
    fault(field, "must be a list of at most " + std::to_string(max) + " texts");
    return out;
  }
  for (const json& item : *value) {
    if (!item.is_string()) {
      fault(field, "must hold texts only");
      return {};
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::map<std::string, std::string> Body::map(const std::string& field, std::size_t max) {
  const json* value = find(field);
  std::map<std::string, std::string> out;
  if (value == nullptr) return out;
  if (!value->is_object() || value->size() > max) {
    fault(field, "must be an object of at most " + std::to_string(max) + " texts");
    return out;
  }
  for (const auto& [key, item] : value->items()) {
    if (!item.is_string()) {
      fault(field + "." + printable(key), "must be a text");
      continue;
    }
    out.emplace(key, item.get<std::string>());
  }
  return out;
}

std::vector<std::map<std::string, std::string>> Body::records(
    const std::string& field, const std::vector<std::string>& members, std::size_t max) {
  const json* value = find(field);
  std::vector<std::map<std::string, std::string>> out;
  if (value == nullptr) return out;
  if (!value->is_array() || value->size() > max) {
    fault(field, "must be a list of at most " + std::to_string(max) + " records");
    return out;
  }
  for (const json& item : *value) {
    const std::string place = field + "[" + std::to_string(out.size()) + "]";
    std::map<std::string, std::string>& record = out.emplace_back();
    if (!item.is_object()) {
      fault(place, "must be a record");
      continue;
    }
    for (const std::string& member : members) {
      const auto wrong = [&](const char* sentence) {
        fault(fmt::format("{}.{}", place, member), sentence);
      };
      const auto found = item.find(member);
      if (found == item.end()) {
        wrong("is missing");
      } else if (!found->is_string()) {
        wrong("must be a text");
      } else {
        record[member] = found->get<std::string>();
      }
    }
    for (const auto& [key, unused] : item.items()) {
      if (std::ranges::find(members, key) != members.end()) continue;
      faults_.push_back({.target = fmt::format("{}.{}", place, printable(key)),
                         .code = "unknown_field",
                         .detail = "is not known"});
    }
  }
  return out;
}

Status Body::finish() {
  for (const auto& [key, value] : object_->items()) {
    if (known_.count(key) == 0) {
      faults_.push_back(
          {.target = printable(key), .code = "unknown_field", .detail = "is not known"});
    }
  }
  if (faults_.empty()) return {};
  std::string message = "the body is wrong: " + faults_[0].target + " " + faults_[0].detail;
  ErrorDetail detail;
  detail.reasons = std::move(faults_);
  return Error(Code::kInvalid, std::move(message), std::move(detail));
}

bool prefers_async(const Request& request) {
  return names(request.headers.get("prefer"), "respond-async");
}

bool accepts_events(const Request& request) {
  return names(request.headers.get("accept"), "text/event-stream");
}

}  // namespace cairn::api
