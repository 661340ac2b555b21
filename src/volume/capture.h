// capture: plan -> passes while the workload runs -> lock -> pre command -> last pass -> hold ->
// cut
// -> resume -> post command -> unlock -> store -> row. docs/ordering.md has the order.
#pragma once

#include <functional>
#include <vector>

#include "volume/capture_plan.h"
#include "volume/core.h"

namespace cairn::volume {

// What a capture would do now, for --dry-run: the plan and what it costs. Changes nothing.
Result<CaptureForecast> forecast_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options);

// The whole of it; takes the locks for the last pass and the cut only. The returned row is stored.
// A failure leaves no row. Where the hold could not be ended the journal stays, and the lock goes
// to keep: recovery ends it.
Result<catalog::SnapshotRow> run_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options,
                                         catalog::OperationContext& context,
                                         const std::function<void(parallel::LockGuard)>& keep);

// Archives trees that nobody writes and makes them a snapshot: fills in row's volumes, sizes and
// repository id, and writes it. row names the workload, the reason and the operation. On failure
// there is no row, and what was stored is taken back.
Status store_capture(Core& core,
                     const std::vector<CaptureRoot>& roots,
                     catalog::SnapshotRow& row,
                     catalog::OperationContext& context);

}  // namespace cairn::volume
