// restore: plan -> stage beside -> journal -> quiesce -> exchange -> commit -> start -> health, and
// undo, which is the same with trees that are staged already. docs/ordering.md has the order.
#pragma once

#include "volume/core.h"
#include "volume/transaction.h"

namespace cairn::volume {

// What the service needs to know when a transaction could not be brought to an end now: the journal
// stays, and so must the lock.
struct Outcome {
  Result<RestoreResult> result;
  bool unfinished = false;
};

Outcome run_restore(Core& core,
                    const catalog::Workload& workload,
                    const catalog::SnapshotRow& snapshot,
                    const RestoreOptions& options,
                    catalog::OperationContext& context);
Outcome run_undo(Core& core,
                 const catalog::Workload& workload,
                 const catalog::UndoRow& undo,
                 const RestoreOptions& options,
                 catalog::OperationContext& context);

// After HEALTHY or KEPT: stores what went out as the pre-restore snapshot, reads it back, gives the
// undo its expiry, removes the journal. Runs as an operation of its own. Where storing fails the
// undo has no expiry and the journal goes all the same.
Status store_replaced(Core& core, const std::string& operation, catalog::OperationContext& context);
inline constexpr std::string_view kStoreKind = "undo.store";
// How such an operation is found again: its actor names whose data it stores.
std::string storing_actor(const std::string& operation);
// Starts that operation; its id.
Result<std::string> start_storing(Core& core,
                                  const std::string& operation,
                                  const std::string& workload_id);

// Removes the trees and the holder of an undo whose row says that it ended; again is fine.
Status remove_undo_trees(Core& core, const catalog::UndoRow& undo);

}  // namespace cairn::volume
