// What people see of workloads and volumes. Reads only; works while the engine is down.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "workload/core.h"

namespace cairn::workload {

// One workload, with each container's health and address.
Result<WorkloadView> view_workload(const Core& core, const std::string& id_or_name);
// All of them by one question to the engine, without health and address.
Result<std::vector<WorkloadView>> view_workloads(const Core& core);
Result<std::vector<VolumeView>> view_volumes(const Core& core, const std::string& id_or_name);

}  // namespace cairn::workload
