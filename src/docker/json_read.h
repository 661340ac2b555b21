// Reading an engine's JSON with every type checked. A field that is missing or null is a default;
// one of another type is a fault. The first fault is kept, so that a parser reads as a list of
// fields and asks once at its end. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::docker {

// kCorrupt where the text is not JSON.
Result<nlohmann::json> parse_json(std::string_view text);

// kInvalid where a string in it is not UTF-8.
Result<std::string> to_text(const nlohmann::json& document);

class JsonFault {
 public:
  void note(std::string_view path, std::string_view expected);
  // kCorrupt with the first fault.
  [[nodiscard]] Status status() const;

 private:
  std::string text_;
};

// A view of one object (or of none); the document and the fault outlive it.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& document, JsonFault& fault);

  [[nodiscard]] bool has(const char* name) const;
  [[nodiscard]] std::string text(const char* name) const;
  [[nodiscard]] std::int64_t integer(const char* name) const;
  [[nodiscard]] int small_integer(const char* name) const;
  [[nodiscard]] bool boolean(const char* name) const;
  // RFC 3339 as milliseconds since 1970; 0 for the engine's "never" (year 1) too.
  [[nodiscard]] std::int64_t time_ms(const char* name) const;
  [[nodiscard]] JsonReader object(const char* name) const;
  [[nodiscard]] std::vector<std::string> texts(const char* name) const;
  [[nodiscard]] std::map<std::string, std::string> text_map(const char* name) const;
  [[nodiscard]] std::vector<JsonReader> objects(const char* name) const;
  // The objects of an object, by name.
  [[nodiscard]] std::map<std::string, JsonReader> object_map(const char* name) const;
  // The names of an object's fields.
  [[nodiscard]] std::vector<std::string> names(const char* name) const;
  // The objects of a document that is an array.
  static std::vector<JsonReader> array(const nlohmann::json& document, JsonFault& fault);

 private:
  JsonReader(const nlohmann::json* object, JsonFault* fault, std::string path);
  [[nodiscard]] const nlohmann::json* find(const char* name) const;
  [[nodiscard]] std::string path_of(std::string_view name) const;

  const nlohmann::json* object_;  // null: nothing is there
  JsonFault* fault_;
  std::string path_;
};

}  // namespace cairn::docker
