// capture: lock -> pause or stop (journaled, watched) -> read into the repository -> resume ->
// packs, index, snapshot durable -> row. docs/ordering.md has the order.
#pragma once

#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// One volume's root, open for reading.
struct CaptureRoot {
  int index = 0;
  ResolvedVolume volume;
  os::Dir dir;
};

// What of a workload can be captured and what is skipped and why. Changes nothing.
struct CapturePlan {
  std::vector<CaptureRoot> roots;
  std::vector<catalog::SkippedVolume> skipped;
};
Result<CapturePlan> plan_capture(Core& core, const catalog::Workload& workload);

// The whole of it; the caller holds the locks. The returned row is stored.
Result<catalog::SnapshotRow> run_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options,
                                         catalog::OperationContext& context);

// Archives trees that nobody writes and makes them a snapshot: fills in row's volumes, sizes and
// repository id, and writes it. row names the workload, the reason and the operation. On failure
// there is no row; what was stored is garbage for a prune.
Status store_capture(Core& core,
                     const std::vector<CaptureRoot>& roots,
                     catalog::SnapshotRow& row,
                     catalog::OperationContext& context);

// After a crash: containers run again as the journal of a capture says; the journal is removed.
Status recover_capture(Core& core, const std::string& operation, std::stop_token stop);
// Rows that were cut but not stored when the daemon ended: stored where the repository has them,
// removed where it has not.
Status recover_cut_rows(Core& core);

}  // namespace cairn::volume
