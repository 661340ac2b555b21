// Errors as JSON text, with their whole detail, for rows of operations and for the API.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace cairn::catalog {

// {"code","message"} and, where they are set, "reasons"[{"target","code","detail"}], "holder",
// "probe", "log_tail"[], "data", "operation". Text that is not UTF-8 is made printable.
nlohmann::json error_to_json(const Error& error);

// The way back; kInternal with a plain message where the text is not such a record (a newer Cairn's
// code becomes kInternal too, its message stays).
Error error_from_json(std::string_view text);

}  // namespace cairn::catalog
