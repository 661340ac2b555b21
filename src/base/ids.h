// Ids: a prefix and the 26 lower-case characters of a ULID (github.com/ulid/spec): 48 bits of
// milliseconds, 80 random bits. Where an id is shortened the last eight characters are used, since
// the first ten are time.
#pragma once

#include <string>
#include <string_view>

namespace cairn::ids {

inline constexpr std::string_view kWorkload = "wl_";
inline constexpr std::string_view kSnapshot = "snap_";
inline constexpr std::string_view kUndo = "undo_";
inline constexpr std::string_view kRelease = "rel_";
inline constexpr std::string_view kOperation = "op_";
inline constexpr std::string_view kEvent = "ev_";

// A new id; strictly increasing within the process. Thread-safe.
std::string make(std::string_view prefix);
// True where text is the prefix and 26 characters of the lower-case Crockford alphabet.
bool is(std::string_view prefix, std::string_view text);
// The last eight characters.
std::string short_form(std::string_view id);

}  // namespace cairn::ids
