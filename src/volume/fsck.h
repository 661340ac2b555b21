// fsck: catalog, journal, repository, volumes and containers held against each other. Reads only.
#pragma once

#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// Everything that does not fit together; empty: clean. What running operations hold just now is
// not a finding. The error is for a check that could not be done.
Result<std::vector<Finding>> check_everything(Core& core);

}  // namespace cairn::volume
