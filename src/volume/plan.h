// plan: what a restore would do, and every reason why it may not. Changes nothing but scratch
// directories of its own, and parents of a volume's root that are missing.
#pragma once

#include "volume/core.h"
#include "volume/exchange.h"

namespace cairn::volume {

// A plan with what its execution needs beside the facts that are shown.
struct FullPlan {
  RestorePlan shown;
  std::vector<TreePair> pairs;  // without handles
  bool should_run = false;
};

// kNotFound, kUnavailable and the like are errors; refusals are reasons in the plan.
Result<FullPlan> make_restore_plan(Core& core,
                                   const catalog::Workload& workload,
                                   const catalog::SnapshotRow& snapshot,
                                   const RestoreOptions& options);
// The same for putting back an undo's trees.
Result<FullPlan> make_undo_plan(Core& core,
                                const catalog::Workload& workload,
                                const catalog::UndoRow& undo,
                                const RestoreOptions& options);

// kRefused or kNoSpace with every reason, where there is one.
Status check_plan(const RestorePlan& plan, const std::string& what);

}  // namespace cairn::volume
