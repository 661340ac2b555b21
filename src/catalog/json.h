// JSON columns: writing them without exceptions, reading them with kCorrupt for what is not as it
// was written. Only the catalog's own sources include this. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

// Compact; bytes that are not UTF-8 become U+FFFD.
std::string dump(const nlohmann::json& value);

// what goes into the message; the text never does, it may be secret.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view what);
Result<std::map<std::string, std::string>> parse_text_record(std::string_view text,
                                                             std::string_view what);
Result<std::vector<std::string>> parse_text_list(std::string_view text, std::string_view what);
// A list of records, for the caller to read with field_ functions.
Result<std::vector<nlohmann::json>> parse_record_list(std::string_view text, std::string_view what);

// A field of a record; empty or 0 where it is missing or of another type.
std::string field_text(const nlohmann::json& record, const char* key);
std::int64_t field_integer(const nlohmann::json& record, const char* key);
std::uint64_t field_size(const nlohmann::json& record, const char* key);

}  // namespace cairn::catalog
