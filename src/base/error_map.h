// The only translation of Code to what other programs see: HTTP status codes (RFC 9110, 4918) and
// exit codes of the command line. Pure functions.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"

namespace cairn {

// Exit codes of cairn. Scripts rely on them.
enum class Exit : int { kOk = 0, kFailed = 1, kUsage = 2, kNotFound = 3, kBusy = 4 };

int http_status(Code code);
Exit exit_of(Code code);

// The code behind a stable name ("not_found"); nothing for a name that no code has.
std::optional<Code> parse_code(std::string_view name);

// What an HTTP status means where the answer carries no code of its own (a proxy's, an old
// daemon's). 500 and everything unknown is kInternal.
Code code_of_status(int status);

// A short title for people: "not found", "the lock is taken".
std::string_view code_title(Code code);

}  // namespace cairn
