#include "workload/toml_json.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/strings.h"

namespace cairn::workload {
namespace {

using nlohmann::json;

// The parser bounds the depth of what it lets pass (256), so recursion is bounded here.
json convert(const toml::node& node, const std::string& path, std::vector<Reason>& faults) {
  if (const auto* table = node.as_table()) {
    json object = json::object();
    for (const auto& [key, value] : *table) {
      const std::string name(key.str());
      const std::string shown = printable(name, 64);
      object[name] = convert(value, path.empty() ? shown : path + "." + shown, faults);
    }
    return object;
  }
  if (const auto* array = node.as_array()) {
    json list = json::array();
    for (const auto& item : *array) {
      list.push_back(convert(item, fmt::format("{}[{}]", path, list.size()), faults));
    }
    return list;
  }
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<std::int64_t>()) return *number;
  if (const auto number = node.value_exact<double>()) return *number;
  if (const auto flag = node.value_exact<bool>()) return *flag;
  faults.push_back({path, "wrong_type", "must not be a date or time"});
  return nullptr;
}

}  // namespace

Result<json> toml_to_json(std::string_view text, std::vector<Reason>& faults) {
  try {
    const toml::table table = toml::parse(text);
    return convert(table, "", faults);
  } catch (const toml::parse_error& error) {
    // Without the parser's words: they may repeat a secret.
    const auto& at = error.source().begin;
    return Error(Code::kInvalid,
                 fmt::format("not valid TOML at line {}, column {}", at.line, at.column));
  }
}

}  // namespace cairn::workload
