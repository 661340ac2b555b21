// Small pure functions on text, and the names that Cairn gives out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn {

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
// Decimal digits only, no sign; nothing on overflow or any other character.
std::optional<std::uint64_t> parse_uint(std::string_view text);
// A workload's name: [a-z0-9][a-z0-9-]{0,62}; kInvalid with the rule otherwise.
Status check_name(std::string_view name);
// True where text is well-formed UTF-8 (RFC 3629).
bool is_utf8(std::string_view text);
// For messages: control characters and broken UTF-8 as \xNN, cut to max_bytes with an ellipsis.
std::string printable(std::string_view text, std::size_t max_bytes = 200);
// A duration as people write it: "24h", "30m", "90s", "7d", or plain seconds; in seconds.
std::optional<std::int64_t> parse_duration_s(std::string_view text);

}  // namespace cairn
