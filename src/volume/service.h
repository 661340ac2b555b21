// Volumes: the facade of this floor. Captures, restores, undoes, recovers and checks a workload's
// volumes. Thread-safe: each call takes the locks it needs; long calls run on the caller's thread,
// which is an operation's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "catalog/catalog.h"
#include "catalog/operations.h"
#include "catalog/snapshots.h"
#include "catalog/undos.h"
#include "docker/engine.h"
#include "parallel/keyed_lock.h"
#include "repository/repository.h"
#include "volume/lifecycle.h"
#include "volume/resolve.h"

namespace cairn::volume {

enum class Consistency { kPaused, kStopped };
Result<Consistency> parse_consistency(std::string_view text);
std::string_view consistency_name(Consistency consistency);

enum class OnFailure { kUndo, kKeep };
enum class OnBusy { kRefuse, kWait };

// Takes the keys for an operation, or waits for them. kBusy, kCancelled.
Result<parallel::LockGuard> take_lock(parallel::LockTable& locks,
                                      const std::vector<std::string>& keys,
                                      OnBusy on_busy,
                                      catalog::OperationContext& context);

struct CaptureOptions {
  Consistency consistency = Consistency::kPaused;
  std::map<std::string, std::string> labels;
  OnBusy on_busy = OnBusy::kRefuse;
};

struct RestoreOptions {
  OnFailure on_failure = OnFailure::kUndo;
  OnBusy on_busy = OnBusy::kRefuse;
  std::vector<std::string> also_stop;  // containers of others that are stopped for the exchange
};

// What a restore would do, for --dry-run, ?dryRun=1 and the dialog. Sizes in bytes.
struct PlannedVolume {
  int index = 0;
  std::string target;
  std::string scope;
  std::string source;
  std::string path;
  bool root_missing = false;
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};
struct RestorePlan {
  std::string workload_id;
  std::string snapshot_id;
  std::vector<PlannedVolume> volumes;
  std::vector<std::string> untouched;  // targets that the snapshot lacks
  std::vector<std::string> readers;    // read-only mounts of others, listed only
  std::vector<std::string> stops;      // container names that will be stopped
  std::vector<Reason> reasons;         // not empty: refused
  bool no_space = false;               // a reason is about space
  bool will_start = false;
};

struct RestoreResult {
  std::string status;  // "restored", "undone", "kept"
  std::string workload_id;
  bool started = false;
  std::int64_t hold_ms = 0;
  std::int64_t cairn_ms = 0;
  std::string undo;  // the undo that this left behind
  std::vector<std::string> untouched;
  std::string storing;  // the operation that stores the replaced data
  std::vector<std::string> warnings;
};

struct Finding {
  std::string code;
  std::string subject;
  std::string detail;
};

struct ServiceParts {
  catalog::Catalog& catalog;
  catalog::Operations& operations;
  docker::Engine& engine;
  repository::Repository& repository;
  parallel::LockTable& locks;
  std::string engine_socket_path;  // for the pause watcher
};

class Service {
 public:
  // data_dir is DATA; the journal lives in DATA/journal, which must exist.
  Service(ServiceParts parts, std::string data_dir, Lifecycle& lifecycle);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service();

  // What of the settings places depend on, read now.
  [[nodiscard]] Result<PlaceSettings> place_settings();

  // --- snapshots -------------------------------------------------------------------------------
  // Captures now. The row that is returned is stored. kRefused with the skipped volumes as reasons
  // where there is nothing to capture; kBusy; kUnavailable. A failure leaves no row and no pause.
  Result<catalog::SnapshotRow> create_snapshot(const std::string& workload_id,
                                               const CaptureOptions& options,
                                               catalog::OperationContext& context);
  // Removes the row and the repository's snapshot. kConflict while an undo or restore needs it.
  Status remove_snapshot(const catalog::SnapshotRow& snapshot);
  // Reads every blob of it and sets verified_ms. kCorrupt where something is wrong.
  Result<catalog::SnapshotRow> verify_snapshot(const catalog::SnapshotRow& snapshot,
                                               catalog::OperationContext& context);

  // --- restore and undo ------------------------------------------------------------------------
  // Pure: reads, changes nothing. Refusals are in the plan, not an error.
  Result<RestorePlan> plan_restore(const std::string& workload_id,
                                   const catalog::SnapshotRow& snapshot,
                                   const RestoreOptions& options);
  // kRefused / kNoSpace with reasons, kBusy, kUnhealthy (data "old" after undo, "new" when kept).
  Result<RestoreResult> restore(const std::string& workload_id,
                                const catalog::SnapshotRow& snapshot,
                                const RestoreOptions& options,
                                catalog::OperationContext& context);
  // Puts back what an available undo holds. kConflict where the workload was restored since.
  Result<RestoreResult> undo(const catalog::UndoRow& undo,
                             const RestoreOptions& options,
                             catalog::OperationContext& context);
  // Removes the old trees of an undo for good.
  Status discard_undo(const catalog::UndoRow& undo);

  // --- the daemon's life -----------------------------------------------------------------------
  // Locks the workloads of unfinished journals as "recovering", then recovers each; those that need
  // an engine that is down stay locked and are retried by a thread of this object. Call once,
  // before serving.
  Status recover();
  // Workload ids that still wait for recovery.
  [[nodiscard]] std::vector<std::string> recovering() const;
  // Removes expired undos; called now and then by the daemon.
  void expire_undos();
  // Holds catalog, journal, repository, volumes and containers against each other.
  Result<std::vector<Finding>> fsck();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::volume
