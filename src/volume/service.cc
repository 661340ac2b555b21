#include "volume/service.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/strings.h"
#include "repository/checker.h"
#include "volume/adopt.h"
#include "volume/archive_export.h"
#include "volume/archive_import.h"
#include "volume/capture.h"
#include "volume/core.h"
#include "volume/fsck.h"
#include "volume/journal.h"
#include "volume/plan.h"
#include "volume/recovery.h"
#include "volume/restore.h"

namespace cairn::volume {

namespace {

// What brings the data of an undo back once it is stored as a snapshot.
std::string restore_command(const catalog::UndoRow& undo) {
  return fmt::format("cairn snapshot restore {} {}", undo.workload_name, undo.pre_restore_snapshot);
}

}  // namespace

std::string_view consistency_name(Consistency consistency) {
  switch (consistency) {
    case Consistency::kPaused:
      return "paused";
    case Consistency::kStopped:
      return "stopped";
    case Consistency::kLive:
      return "live";
  }
  return "";
}

Result<Consistency> parse_consistency(std::string_view text) {
  for (const Consistency one : {Consistency::kPaused, Consistency::kStopped, Consistency::kLive}) {
    if (consistency_name(one) == text) return one;
  }
  return Error(Code::kInvalid,
               "unknown consistency '" + printable(text, 40) + "': paused, stopped or live");
}

struct Service::State {
  State(const ServiceParts& parts, std::string data_dir, Lifecycle& lifecycle)
      : core{parts.catalog, parts.operations, parts.engine,        parts.repository,
             parts.locks,   lifecycle,        std::move(data_dir), parts.engine_socket_path},
        recovery(core) {}

  Core core;
  Recovery recovery;
};

Service::Service(const ServiceParts& parts, std::string data_dir, Lifecycle& lifecycle)
    : state_(std::make_unique<State>(parts, std::move(data_dir), lifecycle)) {}

Service::~Service() = default;

Result<PlaceSettings> Service::place_settings() {
  return read_place_settings(state_->core);
}

Result<catalog::SnapshotRow> Service::create_snapshot(const std::string& workload_id,
                                                      const CaptureOptions& options,
                                                      catalog::OperationContext& context) {
  Core& core = state_->core;
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  return run_capture(core, workload, options, context, [this, &context](parallel::LockGuard lock) {
    state_->recovery.keep_if_unfinished(context.id(), std::move(lock));
  });
}

Result<CaptureForecast> Service::forecast_snapshot(const std::string& workload_id,
                                                   const CaptureOptions& options) {
  TRY_ASSIGN(const catalog::Workload workload, state_->core.catalog.workloads().get(workload_id));
  return forecast_capture(state_->core, workload, options);
}

Status Service::remove_snapshot(const catalog::SnapshotRow& snapshot) {
  Core& core = state_->core;
  TRY_ASSIGN(const std::vector<catalog::UndoRow> undos,
             core.catalog.undos().list(snapshot.workload_id));
  for (const catalog::UndoRow& undo : undos) {
    const bool live =
        undo.state == catalog::UndoState::kAvailable || undo.state == catalog::UndoState::kApplying;
    if (live && undo.pre_restore_snapshot == snapshot.id) {
      return Error(Code::kConflict, "snapshot " + snapshot.id + " is what undo " + undo.id +
                                        " stands on: discard the undo first");
    }
  }
  TRY_ASSIGN(const parallel::LockGuard lock,
             core.locks.try_lock({"snapshot:" + snapshot.id}, snapshot.id));
  if (snapshot.state == catalog::SnapshotState::kStored) {
    // kFailed stands for "being removed": recovery finishes what a crash leaves here.
    catalog::SnapshotRow going = snapshot;
    going.state = catalog::SnapshotState::kFailed;
    TRY(core.catalog.snapshots().update(going));
  }
  return remove_stored(core, snapshot);
}

Result<catalog::SnapshotRow> Service::verify_snapshot(const catalog::SnapshotRow& snapshot,
                                                      catalog::OperationContext& context) {
  Core& core = state_->core;
  context.phase("verify");
  TRY_ASSIGN(const parallel::LockGuard lock,
             core.locks.try_lock({"snapshot:" + snapshot.id}, context.id()));
  TRY_ASSIGN(const repository::Id id, repository::Id::parse(snapshot.repository_snapshot));
  TRY_ASSIGN(const std::vector<repository::CheckFinding> findings,
             repository::verify_snapshot(core.repository, id, context, context.stop_token()));
  if (!findings.empty()) {
    ErrorDetail detail;
    for (const repository::CheckFinding& one : findings) {
      detail.reasons.push_back({one.subject, "damaged", one.detail});
    }
    return Error(Code::kCorrupt,
                 "snapshot " + snapshot.id + " is damaged: " + findings[0].subject + ": " +
                     findings[0].detail,
                 std::move(detail));
  }
  catalog::SnapshotRow row = snapshot;
  row.verified_ms = wall_ms();
  TRY(core.catalog.snapshots().update(row));
  return row;
}

Result<ArchiveSource> Service::export_archive(const catalog::SnapshotRow& snapshot) {
  return open_export(state_->core, snapshot);
}

Result<catalog::SnapshotRow> Service::import_archive(const std::string& workload_id,
                                                     const os::Fd& archive,
                                                     const ImportOptions& options,
                                                     catalog::OperationContext& context) {
  Core& core = state_->core;
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  return run_import(core, workload, archive, options, context);
}

Result<catalog::SnapshotRow> Service::adopt_snapshot(const std::string& workload_id,
                                                     const AdoptOptions& options,
                                                     catalog::OperationContext& context) {
  Core& core = state_->core;
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  return run_adoption(core, workload, options, context);
}

Result<AdoptForecast> Service::forecast_adoption(const std::string& workload_id,
                                                 const AdoptOptions& options,
                                                 const std::stop_token& stop) {
  TRY_ASSIGN(const catalog::Workload workload, state_->core.catalog.workloads().get(workload_id));
  return volume::forecast_adoption(state_->core, workload, options, stop);
}

Result<RestorePlan> Service::plan_restore(const std::string& workload_id,
                                          const catalog::SnapshotRow& snapshot,
                                          const RestoreOptions& options) {
  Core& core = state_->core;
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  TRY_ASSIGN(FullPlan plan, make_restore_plan(core, workload, snapshot, options));
  return std::move(plan.shown);
}

Result<RestoreResult> Service::restore(const std::string& workload_id,
                                       const catalog::SnapshotRow& snapshot,
                                       const RestoreOptions& options,
                                       catalog::OperationContext& context) {
  Core& core = state_->core;
  TRY_ASSIGN(catalog::Workload workload, core.catalog.workloads().get(workload_id));
  if (snapshot.workload_id != workload.id) {
    return Error(Code::kInvalid, "snapshot " + snapshot.id + " is of another workload");
  }
  if (snapshot.state != catalog::SnapshotState::kStored) {
    return Error(Code::kConflict, "snapshot " + snapshot.id + " is not stored");
  }
  TRY_ASSIGN(std::vector<std::string> keys, volume_keys(core, workload));
  keys.push_back("snapshot:" + snapshot.id);
  TRY_ASSIGN(parallel::LockGuard lock, take_lock(core.locks, keys, options.on_busy, context));
  TRY_ASSIGN(workload, core.catalog.workloads().get(workload.id));
  Outcome outcome = run_restore(core, workload, snapshot, options, context);
  if (outcome.unfinished) state_->recovery.keep(context.id(), std::move(lock));
  return std::move(outcome.result);
}

Result<RestoreResult> Service::undo(const catalog::UndoRow& undo,
                                    const RestoreOptions& options,
                                    catalog::OperationContext& context) {
  Core& core = state_->core;
  TRY_ASSIGN(catalog::Workload workload, core.catalog.workloads().get(undo.workload_id));
  TRY_ASSIGN(const std::vector<std::string> keys, volume_keys(core, workload));
  TRY_ASSIGN(parallel::LockGuard lock, take_lock(core.locks, keys, options.on_busy, context));
  TRY(stop_storing(core, undo.operation_id));
  TRY_ASSIGN(const std::optional<catalog::UndoRow> now, core.catalog.undos().find(undo.id));
  TRY_ASSIGN(workload, core.catalog.workloads().get(workload.id));
  Outcome outcome{Error(Code::kConflict, "")};
  if (!now || now->state != catalog::UndoState::kAvailable) {
    outcome.result =
        Error(Code::kConflict,
              "undo " + undo.id + " is not available any more" +
                  (undo.pre_restore_snapshot.empty() ? "" : ": " + restore_command(undo)));
  } else if (now->made_generation != workload.data_generation) {
    outcome.result =
        Error(Code::kConflict,
              "the workload's data was exchanged since undo " + undo.id +
                  " was made: undo the newest one first" +
                  (now->pre_restore_snapshot.empty() ? "" : ", or " + restore_command(*now)));
  } else {
    outcome = run_undo(core, workload, *now, options, context);
  }
  if (outcome.unfinished) {
    state_->recovery.keep(context.id(), std::move(lock));
  } else {
    resume_storing(core, undo.operation_id);
  }
  return std::move(outcome.result);
}

Result<std::vector<std::string>> Service::targets_of(const catalog::UndoRow& undo) {
  TRY_ASSIGN(const std::vector<TreePair> pairs, pairs_of(undo));
  std::vector<std::string> targets;
  for (const TreePair& pair : pairs) targets.push_back(pair.volume.target);
  return targets;
}

Status Service::discard_undo(const catalog::UndoRow& undo) {
  Core& core = state_->core;
  TRY_ASSIGN(const parallel::LockGuard lock,
             core.locks.try_lock({"workload:" + undo.workload_id}, undo.id));
  TRY(stop_storing(core, undo.operation_id));
  TRY_ASSIGN(std::optional<catalog::UndoRow> now, core.catalog.undos().find(undo.id));
  if (!now || now->state != catalog::UndoState::kAvailable) {
    return Error(Code::kConflict, "undo " + undo.id + " is not available any more");
  }
  now->state = catalog::UndoState::kDiscarded;
  TRY(core.catalog.undos().update(*now));
  const Status removed = remove_undo_trees(core, *now);
  resume_storing(core, undo.operation_id);
  return removed;
}

Status Service::recover() {
  return state_->recovery.run();
}

std::vector<std::string> Service::recovering() const {
  return state_->recovery.waiting();
}

void Service::expire_undos() {
  Core& core = state_->core;
  const auto expired = core.catalog.undos().list_expired(wall_ms());
  if (!expired.ok()) return;
  for (catalog::UndoRow undo : *expired) {
    const auto lock = core.locks.try_lock({"workload:" + undo.workload_id}, undo.id);
    if (!lock.ok()) continue;  // next time
    undo.state = catalog::UndoState::kExpired;
    if (!core.catalog.undos().update(undo).ok()) continue;
    const Status removed = remove_undo_trees(core, undo);
    tell(core, "undo.expired", undo.workload_id, undo.operation_id,
         removed.ok()
             ? "undo " + undo.id + " expired; its data is in snapshot " + undo.pre_restore_snapshot
             : "undo " + undo.id +
                   " expired, but its trees are not removed yet: " + removed.error().message());
  }
}

Result<std::vector<catalog::Finding>> Service::fsck() {
  return check_data(state_->core);
}

}  // namespace cairn::volume
