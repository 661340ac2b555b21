#include "docker/json_read.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace cairn::docker {

using Json = nlohmann::json;

Result<Json> parse_json(std::string_view text) {
  Json document = Json::parse(text, nullptr, false);
  if (document.is_discarded()) return Error(Code::kCorrupt, "the engine's reply is not JSON");
  return document;
}

Result<std::string> to_text(const Json& document) {
  try {
    return document.dump();
  } catch (const Json::exception&) {
    return Error(Code::kInvalid, "a text for the engine is not UTF-8");
  }
}

void JsonFault::note(std::string_view path, std::string_view expected) {
  if (text_.empty()) text_ = fmt::format("the engine's reply: {} is not {}", path, expected);
}

Status JsonFault::status() const {
  if (!text_.empty()) return Error(Code::kCorrupt, text_);
  return {};
}

JsonReader::JsonReader(const Json& document, JsonFault& fault)
    : JsonReader(document.is_object() ? &document : nullptr, &fault, "") {
  if (!document.is_object()) fault.note("the document", "an object");
}

JsonReader::JsonReader(const Json* object, JsonFault* fault, std::string path)
    : object_(object), fault_(fault), path_(std::move(path)) {}

std::string JsonReader::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const Json* JsonReader::find(const char* name) const {
  if (object_ == nullptr) return nullptr;
  auto found = object_->find(name);
  if (found == object_->end() || found->is_null()) return nullptr;
  return &*found;
}

bool JsonReader::has(const char* name) const {
  return find(name) != nullptr;
}

std::string JsonReader::text(const char* name) const {
  const Json* found = find(name);
  if (found == nullptr) return {};
  if (!found->is_string()) {
    fault_->note(path_of(name), "a string");
    return {};
  }
  return found->get_ref<const std::string&>();
}

std::int64_t JsonReader::integer(const char* name) const {
  const Json* found = find(name);
  if (found == nullptr) return 0;
  bool fits = found->is_number_integer() &&
              (!found->is_number_unsigned() ||
               found->get<std::uint64_t>() <=
                   static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (!fits) {
    fault_->note(path_of(name), "an integer");
    return 0;
  }
  return found->get<std::int64_t>();
}

int JsonReader::small_integer(const char* name) const {
  std::int64_t value = integer(name);
  if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
    fault_->note(path_of(name), "a small integer");
    return 0;
  }
  return static_cast<int>(value);
}

bool JsonReader::boolean(const char* name) const {
  const Json* found = find(name);
  if (found == nullptr) return false;
  if (!found->is_boolean()) {
    fault_->note(path_of(name), "true or false");
    return false;
  }
  return found->get<bool>();
}

std::int64_t JsonReader::time_ms(const char* name) const {
  std::string value = text(name);
  if (value.empty()) return 0;
  auto time = parse_rfc3339(value);
  if (!time.ok()) {
    fault_->note(path_of(name), "a time");
    return 0;
  }
  if (time->seconds < 0) return 0;
  return time->seconds * 1000 + time->nanoseconds / 1'000'000;
}

JsonReader JsonReader::object(const char* name) const {
  const Json* found = find(name);
  if (found != nullptr && !found->is_object()) {
    fault_->note(path_of(name), "an object");
    found = nullptr;
  }
  return {found, fault_, path_of(name)};
}

std::vector<std::string> JsonReader::texts(const char* name) const {
  std::vector<std::string> values;
  const Json* found = find(name);
  if (found == nullptr) return values;
  if (!found->is_array()) {
    fault_->note(path_of(name), "a list");
    return values;
  }
  for (const Json& item : *found) {
    if (!item.is_string()) {
      fault_->note(path_of(name), "a list of strings");
      return {};
    }
    values.push_back(item.get_ref<const std::string&>());
  }
  return values;
}

std::map<std::string, std::string> JsonReader::text_map(const char* name) const {
  std::map<std::string, std::string> values;
  JsonReader inner = object(name);
  if (inner.object_ == nullptr) return values;
  for (const auto& [key, value] : inner.object_->items()) {
    if (!value.is_string()) {
      fault_->note(inner.path_of(key), "a string");
      return {};
    }
    values.emplace(key, value.get_ref<const std::string&>());
  }
  return values;
}

std::vector<JsonReader> JsonReader::objects(const char* name) const {
  std::vector<JsonReader> readers;
  const Json* found = find(name);
  if (found == nullptr) return readers;
  if (!found->is_array()) {
    fault_->note(path_of(name), "a list");
    return readers;
  }
  for (const Json& item : *found) {
    if (!item.is_object()) {
      fault_->note(path_of(name), "a list of objects");
      return {};
    }
    readers.push_back({&item, fault_, path_of(name)});
  }
  return readers;
}

std::map<std::string, JsonReader> JsonReader::object_map(const char* name) const {
  std::map<std::string, JsonReader> readers;
  JsonReader inner = object(name);
  if (inner.object_ == nullptr) return readers;
  for (const auto& [key, value] : inner.object_->items()) {
    if (!value.is_object() && !value.is_null()) fault_->note(inner.path_of(key), "an object");
    readers.emplace(key,
                    JsonReader(value.is_object() ? &value : nullptr, fault_, inner.path_of(key)));
  }
  return readers;
}

std::vector<std::string> JsonReader::names(const char* name) const {
  std::vector<std::string> names;
  JsonReader inner = object(name);
  if (inner.object_ == nullptr) return names;
  for (const auto& [key, value] : inner.object_->items()) names.push_back(key);
  return names;
}

std::vector<JsonReader> JsonReader::array(const Json& document, JsonFault& fault) {
  std::vector<JsonReader> readers;
  if (!document.is_array()) {
    fault.note("the document", "a list");
    return readers;
  }
  for (const Json& item : document) {
    if (!item.is_object()) {
      fault.note("the document", "a list of objects");
      return {};
    }
    readers.push_back({&item, &fault, ""});
  }
  return readers;
}

}  // namespace cairn::docker
