// Volumes: the facade of this floor. Captures, restores, undoes, recovers and checks a workload's
// volumes. Thread-safe: each call takes the locks it needs; long calls run on the caller's thread,
// which is an operation's.
#pragma once

#include <functional>
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
#include "codec/gzip.h"
#include "docker/engine.h"
#include "parallel/keyed_lock.h"
#include "repository/repository.h"
#include "volume/lifecycle.h"
#include "volume/resolve.h"

namespace cairn::volume {

enum class Consistency { kPaused, kStopped, kLive };
Result<Consistency> parse_consistency(std::string_view text);
std::string_view consistency_name(Consistency consistency);
// Of what Cairn did not cut itself: nobody told.
inline constexpr std::string_view kConsistencyUnknown = "unknown";

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
  std::optional<std::int64_t> max_hold_s;  // the setting's where not given
  // Commands for /bin/sh -c in the workload's first running container, before the last pass and
  // after the hold; post runs whenever pre may have. Empty: none.
  std::string pre;
  std::string post;
};

// What a capture would do, for --dry-run. Sizes in bytes.
struct ForecastVolume {
  int index = 0;
  std::string target;
  std::string scope;
  std::string source;
  std::uint64_t entries = 0;        // to look at, in the hold too
  std::uint64_t files_to_read = 0;  // before the hold
  std::uint64_t bytes_to_read = 0;
};
struct CaptureForecast {
  Consistency consistency = Consistency::kPaused;
  std::vector<ForecastVolume> volumes;
  std::vector<catalog::SkippedVolume> skipped;
  // As things are now: the walk, and what was written in the last seconds changed once more.
  std::int64_t expected_hold_ms = 0;
  std::int64_t max_hold_ms = 0;
  std::vector<std::string> warnings;
};

struct RestoreOptions {
  OnFailure on_failure = OnFailure::kUndo;
  OnBusy on_busy = OnBusy::kRefuse;
  std::vector<std::string> also_stop;  // containers of others that are stopped for the exchange
  std::vector<std::string> only;       // targets of the snapshot's volumes; all where it is empty
};

// Which directory of a snapshot that another program made is the content of which volume.
struct AdoptMapping {
  std::string path;    // absolute, within that snapshot
  std::string target;  // of a declared volume
};
struct AdoptOptions {
  std::string snapshot;  // its id in the repository, or the first digits of it
  std::vector<AdoptMapping> map;
};

// What an adoption would make, for --dry-run. Sizes in bytes.
struct AdoptedVolume {
  int index = 0;
  std::string target;
  std::string scope;
  std::string source;
  std::string path;
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
};
struct AdoptForecast {
  std::string adopted_from;     // 64 hex digits
  std::int64_t created_ms = 0;  // when that was made
  std::vector<AdoptedVolume> volumes;
  std::vector<std::string> warnings;
};

// What a restore would do, for --dry-run, ?dryRun=1 and the dialog. Sizes in bytes.
struct PlannedVolume {
  int index = 0;
  std::string target;
  std::string scope;
  std::string source;
  std::string path;
  bool root_missing = false;
  bool root_is_mount = false;  // its entries are moved one by one
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
};
// What an imported archive may hold beside directories and regular files of root's.
struct ImportOptions {
  bool allow_links = false;
  bool allow_owners = false;  // setuid and setgid too
  bool allow_xattrs = false;
  bool skip_fifos = false;  // left out with a warning; never imported
  bool skip_devices = false;
};

struct RestorePlan {
  std::string workload_id;
  std::string snapshot_id;
  std::vector<PlannedVolume> volumes;
  std::vector<std::string> untouched;  // targets that the snapshot lacks or that were not chosen
  std::vector<std::string> readers;    // read-only mounts of others, listed only
  std::vector<std::string> stops;      // container names that will be stopped
  std::vector<Reason> reasons;         // not empty: refused
  std::vector<std::string> warnings;   // sentences
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

// Gives an archive to the sink, piece by piece; kCancelled where stop was asked. After a failure
// what has left is no whole archive: its end is missing. Call once, on any thread.
using ArchiveSource = std::function<Status(const codec::ByteSink&, const std::stop_token&)>;

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
  Service(const ServiceParts& parts, std::string data_dir, Lifecycle& lifecycle);
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
  // What that would do now; changes nothing. Refusals are errors, as of create_snapshot().
  Result<CaptureForecast> forecast_snapshot(const std::string& workload_id,
                                            const CaptureOptions& options);
  // Removes the row and the repository's snapshot. kConflict while an undo or restore needs it.
  Status remove_snapshot(const catalog::SnapshotRow& snapshot);
  // Reads every blob of it and sets verified_ms. kCorrupt where something is wrong.
  Result<catalog::SnapshotRow> verify_snapshot(const catalog::SnapshotRow& snapshot,
                                               catalog::OperationContext& context);

  // --- archives --------------------------------------------------------------------------------
  // The snapshot as a tar.gz, to be run once (volume/archive_export.h).
  Result<ArchiveSource> export_archive(const catalog::SnapshotRow& snapshot);
  // Stores an archive as a snapshot of the workload, which it does not touch
  // (volume/archive_import.h).
  Result<catalog::SnapshotRow> import_archive(const std::string& workload_id,
                                              const os::Fd& archive,
                                              const ImportOptions& options,
                                              catalog::OperationContext& context);

  // --- snapshots of other programs -------------------------------------------------------------
  // Makes a snapshot of the workload, which is not touched, out of one that another program wrote
  // into the repository (volume/adopt.h).
  Result<catalog::SnapshotRow> adopt_snapshot(const std::string& workload_id,
                                              const AdoptOptions& options,
                                              catalog::OperationContext& context);
  // What that would make now; changes nothing. Refusals are errors, as of adopt_snapshot().
  Result<AdoptForecast> forecast_adoption(const std::string& workload_id,
                                          const AdoptOptions& options,
                                          const std::stop_token& stop);

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
  // The targets of the volumes that an undo would put back; kCorrupt where its row is damaged.
  static Result<std::vector<std::string>> targets_of(const catalog::UndoRow& undo);
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
  // Holds catalog, journals, repository and volumes against each other; empty when all is well.
  // What a running operation holds just now is no finding. The error is for a check that could not
  // be done.
  Result<std::vector<catalog::Finding>> fsck();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn::volume
