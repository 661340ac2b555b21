#include "workload/fields.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "workload/limits.h"

namespace cairn::workload {

using nlohmann::json;

Fields::Fields(const json& object, std::string path, std::vector<Reason>& faults)
    : object_(object), path_(std::move(path)), faults_(faults) {
  if (!object_.is_object()) {
    faults_.push_back({path_.empty() ? "definition" : path_, "wrong_type", "must be an object"});
  }
}

const json* Fields::find(std::string_view key) {
  known_.emplace(key);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::text(std::string_view key, std::string& out, std::size_t max_bytes) {
  const json* value = find(key);
  if (value == nullptr) return;
  const auto* text = value->get_ptr<const std::string*>();
  if (text == nullptr) return fault(key, "wrong_type", "must be a string");
  if (text->size() > max_bytes) {
    return fault(key, "too_long", fmt::format("must be at most {} bytes", max_bytes));
  }
  if (text->find('\0') != std::string::npos) return fault(key, "invalid", "holds a NUL character");
  out = *text;
}

void Fields::integer(std::string_view key, std::int64_t& out, std::int64_t min, std::int64_t max) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_number_integer()) return fault(key, "wrong_type", "must be a whole number");
  const bool huge =
      value->is_number_unsigned() && value->get<std::uint64_t>() > std::uint64_t{INT64_MAX};
  if (huge || value->get<std::int64_t>() < min || value->get<std::int64_t>() > max) {
    return fault(key, "out_of_range", fmt::format("must be {} to {}", min, max));
  }
  out = value->get<std::int64_t>();
}

void Fields::number(std::string_view key, double& out, double min, double max) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_number()) return fault(key, "wrong_type", "must be a number");
  const auto number = value->get<double>();
  // Written so that a NaN (TOML has one) is refused too.
  if (!(number >= min && number <= max)) {
    return fault(key, "out_of_range", fmt::format("must be {} to {}", min, max));
  }
  out = number;
}

void Fields::texts(std::string_view key, std::vector<std::string>& out) {
  const json* value = find(key);
  if (value == nullptr) return;
  if (!value->is_array()) return fault(key, "wrong_type", "must be a list of strings");
  if (value->size() > kArgumentsMax) {
    return fault(key, "too_many", fmt::format("must have at most {} items", kArgumentsMax));
  }
  std::vector<std::string> texts;
  bool good = true;
  for (std::size_t i = 0; i < value->size(); ++i) {
    const std::string item = fmt::format("{}[{}]", key, i);
    const auto* text = (*value)[i].get_ptr<const std::string*>();
    if (text == nullptr) {
      fault(item, "wrong_type", "must be a string");
      good = false;
    } else if (text->size() > kArgumentBytesMax || text->find('\0') != std::string::npos) {
      fault(item, "invalid",
            fmt::format("must be at most {} bytes without a NUL", kArgumentBytesMax));
      good = false;
    } else {
      texts.push_back(*text);
    }
  }
  if (good) out = std::move(texts);
}

void Fields::fault(std::string_view key, std::string code, std::string detail) {
  faults_.push_back({path(key), std::move(code), std::move(detail)});
}

std::string Fields::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void Fields::refuse_unknown() {
  if (!object_.is_object()) return;
  for (const auto& item : object_.items()) {
    if (known_.contains(item.key())) continue;
    fault(printable(item.key(), 64), "unknown_key", "is not a key that Cairn knows");
  }
}

}  // namespace cairn::workload
