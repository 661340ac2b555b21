// adopt: a snapshot that another program wrote into the repository becomes one of a workload. Which
// of its directories is the content of which volume is said by the caller; from then on it is like
// any other: a row, and a snapshot of Cairn's own layout in the repository, whose blobs are shared
// with the foreign one. That one is never changed, nor is the workload.
#pragma once

#include <stop_token>
#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// What is wrong with mappings by themselves: paths that lead nowhere or out, targets that no volume
// may have, one that is mapped twice, none at all, too many. A reason's target is the field:
// "map[1].path".
std::vector<Reason> check_mappings(const std::vector<AdoptMapping>& map);

// The row that is returned is stored. kInvalid where the mappings or the id's digits are none, or
// several snapshots match; kNotFound; kRefused with a reason for each field where a target is no
// volume that is captured and restored, a path no directory that is whole, or the snapshot one that
// Cairn has a row of; kBusy while somebody holds the repository alone; kCancelled. A failure leaves
// no row.
Result<catalog::SnapshotRow> run_adoption(Core& core,
                                          const catalog::Workload& workload,
                                          const AdoptOptions& options,
                                          catalog::OperationContext& context);

// Everything up to the row.
Result<AdoptForecast> forecast_adoption(Core& core,
                                        const catalog::Workload& workload,
                                        const AdoptOptions& options,
                                        const std::stop_token& stop);

}  // namespace cairn::volume
