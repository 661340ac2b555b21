// TOML text (toml.io, version 1.0) as the JSON value with the same shape. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::workload {

// kInvalid with line and column for what is no TOML; a fault by field path for values that JSON has
// no type for (dates and times).
Result<nlohmann::json> toml_to_json(std::string_view text, std::vector<Reason>& faults);

}  // namespace cairn::workload
