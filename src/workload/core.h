// Core: what every part of this floor works with, and the small reads they share. Not for other
// floors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "volume/resolve.h"
#include "workload/service.h"

namespace cairn::workload {

using Core = Parts;

// An event, also logged; a failure to write it is logged and changes nothing.
void tell(const Core& core,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message);

// The lock keys of a workload: itself, the places that its config names now (as far as they
// resolve) and those that its releases mount.
Result<std::vector<std::string>> workload_keys(const Core& core, const catalog::Workload& row);

// The workload, unless it is being removed: kConflict.
Result<catalog::Workload> get_living(const Core& core, const std::string& id_or_name);

}  // namespace cairn::workload
