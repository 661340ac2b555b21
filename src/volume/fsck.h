// fsck's part on this floor: catalog, journals, repository, undos and staged trees held against
// each other. Reads only.
#pragma once

#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// Everything that does not fit together; empty: clean. What running operations hold just now is
// not a finding. The error is for a check that could not be done.
Result<std::vector<catalog::Finding>> check_data(Core& core);

}  // namespace cairn::volume
