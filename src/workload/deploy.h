// deploy: plan -> image -> lock -> rows -> container -> handover -> health -> commit -> retire.
// The commit is one catalog transaction (docs/ordering.md); before it a failure or a crash takes
// everything back, after it everything goes forward. Both by settle().
#pragma once

#include <string>

#include "base/result.h"
#include "workload/core.h"
#include "workload/recovery.h"

namespace cairn::workload {

// As Workloads::deploy says. Thread-safe.
Result<DeployResult> deploy(const Core& core,
                            Recovery& recovery,
                            const std::string& id_or_name,
                            const DeployOptions& options,
                            catalog::OperationContext& context);

}  // namespace cairn::workload
