// What a crash left of captures.
#pragma once

#include <stop_token>
#include <string>

#include "volume/core.h"

namespace cairn::volume {

// Containers run again as the journal of a capture says, the post command is run, the journal is
// removed.
Status recover_capture(Core& core, const std::string& operation, const std::stop_token& stop);
// Rows that were cut but not stored when the daemon ended: stored where the repository has them,
// removed where it has not.
Status recover_cut_rows(Core& core);

}  // namespace cairn::volume
