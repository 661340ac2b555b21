#include "catalog/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace cairn::catalog {

namespace {

Error not_as_written(std::string_view what) {
  return {Code::kCorrupt, fmt::format("{}: the stored JSON is not as it was written", what)};
}

}  // namespace

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<nlohmann::json> parse_json(std::string_view text, std::string_view what) {
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return not_as_written(what);
  return parsed;
}

Result<std::map<std::string, std::string>> parse_text_record(std::string_view text,
                                                             std::string_view what) {
  TRY_ASSIGN(const nlohmann::json parsed, parse_json(text, what));
  if (!parsed.is_object()) return not_as_written(what);
  std::map<std::string, std::string> record;
  for (const auto& [key, value] : parsed.items()) {
    if (!value.is_string()) return not_as_written(what);
    record.emplace(key, value.get<std::string>());
  }
  return record;
}

Result<std::vector<std::string>> parse_text_list(std::string_view text, std::string_view what) {
  TRY_ASSIGN(const nlohmann::json parsed, parse_json(text, what));
  if (!parsed.is_array()) return not_as_written(what);
  std::vector<std::string> list;
  for (const nlohmann::json& value : parsed) {
    if (!value.is_string()) return not_as_written(what);
    list.push_back(value.get<std::string>());
  }
  return list;
}

Result<std::vector<nlohmann::json>> parse_record_list(std::string_view text,
                                                      std::string_view what) {
  TRY_ASSIGN(const nlohmann::json parsed, parse_json(text, what));
  if (!parsed.is_array()) return not_as_written(what);
  std::vector<nlohmann::json> list;
  for (const nlohmann::json& value : parsed) {
    if (!value.is_object()) return not_as_written(what);
    list.push_back(value);
  }
  return list;
}

std::string field_text(const nlohmann::json& record, const char* key) {
  const auto at = record.find(key);
  return at != record.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::int64_t field_integer(const nlohmann::json& record, const char* key) {
  const auto at = record.find(key);
  return at != record.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}

std::uint64_t field_size(const nlohmann::json& record, const char* key) {
  const auto at = record.find(key);
  return at != record.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

}  // namespace cairn::catalog
