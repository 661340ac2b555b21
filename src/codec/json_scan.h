// What a JSON parser lets pass and a reader of foreign text must not: a key that one record has
// twice, of which two readers may take a different one, and nesting without end.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::codec {

inline constexpr std::size_t kJsonDepthMax = 32;  // lists and records inside each other

struct JsonScan {
  bool too_deep = false;             // deeper than kJsonDepthMax
  std::optional<std::string> twice;  // the first key that is in its record already
  // The end of a sentence about the text, "nests deeper than 32 levels" say; empty where it has
  // neither fault.
  [[nodiscard]] std::string fault() const;
};

// Looks at text up to its first fault, in time linear in its length. Text that is not JSON is
// looked at up to where it ends to be: whether it is, the parse must say. Pure.
JsonScan scan_json(std::string_view text);

}  // namespace cairn::codec
