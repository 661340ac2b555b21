#include "volume/restore.h"

#include <algorithm>
#include <mutex>

#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "os/fault.h"
#include "repository/archive.h"
#include "repository/checker.h"
#include "repository/node_writer.h"
#include "repository/restorer.h"
#include "volume/capture.h"
#include "volume/holder.h"
#include "volume/plan.h"

namespace cairn::volume {

namespace {

// What comes in where the root is a mount point. An entry of e2fsck stays as it is there.
Status stage_entries(const os::Dir& tree, TreePair& pair) {
  TRY_ASSIGN(const std::vector<os::Entry> entries, tree.list());
  for (const os::Entry& entry : entries) {
    if (entry.name == kStagingName) {
      return Error(Code::kRefused,
                   "the snapshot has a .cairn in the volume's root, where Cairn's own directory "
                   "lies at a mount point");
    }
    if (stays_at_mount(entry.name)) TRY(tree.remove_tree(entry.name));
  }
  TRY_ASSIGN(pair.new_tree, list_moved(tree));
  return {};
}

// Extracts one volume's tree beside the live one; its root and the missing live root are made.
Status stage_one(Core& core,
                 const std::string& workload_id,
                 const repository::Id& snapshot,
                 TreePair& pair,
                 Progress& progress,
                 catalog::OperationContext& context) {
  TRY(make_place(core.catalog, core.engine, workload_id, pair.volume));
  // From now on the engine must never fill it from an image, should it be empty.
  TRY(core.catalog.places().mark_held(workload_id, key_of_place(workload_id, pair.volume)));
  TRY_ASSIGN(const RootPlace place, open_place(pair.volume));
  TRY_ASSIGN(const StagingHome home, staging_home(place));
  if (home.is_root != pair.by_entries) {
    return Error(Code::kConflict, "its file system was mounted or unmounted meanwhile");
  }
  TRY_ASSIGN(const os::Dir staging, make_staging(home.dir, pair.staged_in));
  TRY_ASSIGN(const std::optional<os::Stat> live, place.parent.find(place.name));
  bool subvolume = false;
  std::optional<os::Xattr> label;  // of SELinux: the live root's is what the workload may read
  if (live) {
    TRY_ASSIGN(const os::Dir root, place.parent.open_dir(place.name));
    // What moves by entries moves within the subvolume that is mounted.
    TRY_ASSIGN(const bool on_subvolume, os::is_btrfs_subvolume(root.fd()));
    subvolume = on_subvolume && !pair.by_entries;
    TRY_ASSIGN(label, repository::label_of(root));
  }
  if (subvolume) {
    TRY(os::make_btrfs_subvolume(staging, pair.staged_name));
  } else {
    TRY(staging.make_dir(pair.staged_name, 0700));
  }
  TRY_ASSIGN(const os::Dir tree, staging.open_dir(pair.staged_name, os::Crossing::kRefuse));
  if (label) TRY(os::set_xattr(tree.fd(), *label));
  TRY(repository::restore(core.repository, snapshot, {{repository::volume_path(pair.index), &tree}},
                          progress, context.stop_token()));
  if (pair.by_entries) TRY(stage_entries(tree, pair));
  context.phase("sync");  // may take seconds without anything to count
  if (!os::seeded(os::Bug::kStageSkipsSync)) TRY(os::sync_file_system(tree.fd()));
  TRY_ASSIGN(const os::Handle fresh, tree.handle());
  pair.new_handle = fresh.text;
  TRY_ASSIGN(const os::Stat restored, tree.stat());
  pair.new_mtime = restored.mtime;
  TRY_ASSIGN(const os::Handle old, place.parent.handle(place.name));
  pair.old_handle = old.text;
  return {};
}

// What is staged of all volumes together. Thread-safe, as those who write are several.
class StageProgress final : public Progress {
 public:
  StageProgress(Progress& to, std::uint64_t bytes_total) : to_(to), total_(bytes_total) {}

  // Of the repository, of one volume after the other.
  void phase(std::string_view) override {
    const std::scoped_lock lock(mutex_);
    before_.bytes_done += now_.bytes_done;
    before_.items_done += now_.items_done;
    now_ = {};
  }
  void count(const Count& count) override {
    const std::scoped_lock lock(mutex_);
    now_ = count;
    to_.count({.bytes_done = before_.bytes_done + count.bytes_done,
               .bytes_total = total_,
               .items_done = before_.items_done + count.items_done,
               .items_total = 0});
  }
  void warn(std::string_view text) override { to_.warn(text); }

 private:
  Progress& to_;
  const std::uint64_t total_;
  std::mutex mutex_;  // of before_ and now_
  Count before_;
  Count now_;
};

Status stage_all(Core& core,
                 const catalog::SnapshotRow& snapshot,
                 Transaction& transaction,
                 catalog::OperationContext& context) {
  const ExchangePlan& plan = transaction.plan();
  TRY(make_holder(core, plan.workload_id, plan.undo_id, plan.pairs));
  TRY_ASSIGN(const repository::Id id, repository::Id::parse(snapshot.repository_snapshot));
  std::uint64_t bytes = 0;
  for (const catalog::SnapshotVolume& volume : snapshot.volumes) {
    const auto is_it = [&volume](const TreePair& pair) { return pair.index == volume.index; };
    if (std::ranges::any_of(plan.pairs, is_it)) bytes += volume.bytes;
  }
  StageProgress progress(context, bytes);
  for (TreePair& pair : transaction.plan().pairs) {
    context.phase("stage");
    auto staged = stage_one(core, plan.workload_id, id, pair, progress, context);
    if (!staged.ok()) return staged.error().with_context("stage " + printable(pair.volume.target));
  }
  return transaction.record_staged();
}

RestoreResult result_of(const Transaction& transaction, const std::string& status) {
  RestoreResult out;
  out.status = status;
  out.workload_id = transaction.plan().workload_id;
  out.started = transaction.started();
  out.hold_ms = transaction.clock().hold_ms();
  out.cairn_ms = transaction.clock().cairn_ms();
  out.undo = transaction.plan().undo_id;
  return out;
}

// HEALTHY or KEPT: tell, start storing, answer.
Result<RestoreResult> complete(Core& core,
                               const Transaction& transaction,
                               const RestorePlan& plan,
                               const std::string& verb) {
  const bool kept = transaction.kept();
  RestoreResult out = result_of(transaction, kept ? "kept" : verb);
  out.untouched = plan.untouched;
  out.warnings = plan.warnings;
  tell(core, transaction.plan().kind + ".done", out.workload_id, transaction.operation(),
       verb + " in a hold of " + std::to_string(out.hold_ms) + " ms; undo " + out.undo);
  auto storing = start_storing(core, transaction.operation(), out.workload_id);
  if (storing.ok()) {
    out.storing = *storing;
  } else {
    out.warnings.push_back("the replaced data will be stored later: " + storing.error().message());
  }
  if (kept) {
    ErrorDetail detail;
    detail.data = "new";
    return Error(Code::kUnhealthy,
                 "the workload is not healthy on the restored data, which was kept; undo " +
                     out.undo + " brings the old data back",
                 std::move(detail));
  }
  return out;
}

ExchangePlan plan_of(const catalog::Workload& workload,
                     const FullPlan& full,
                     const RestoreOptions& options,
                     const std::string& kind) {
  ExchangePlan out;
  out.kind = kind;
  out.workload_id = workload.id;
  out.workload_name = workload.name;
  out.undo_id = ids::make(ids::kUndo);
  out.on_failure = options.on_failure;
  out.should_run = full.should_run;
  out.generation_before = workload.data_generation;
  out.also_stop = options.also_stop;
  out.pairs = full.pairs;
  return out;
}

}  // namespace

Outcome run_restore(Core& core,
                    const catalog::Workload& workload,
                    const catalog::SnapshotRow& snapshot,
                    const RestoreOptions& options,
                    catalog::OperationContext& context) {
  context.phase("plan");
  auto full = make_restore_plan(core, workload, snapshot, options);
  if (!full.ok()) return {full.error()};
  if (const Status good = check_plan(full->shown, "restore of " + workload.name); !good.ok()) {
    return {good.error()};
  }
  ExchangePlan plan = plan_of(workload, *full, options, "restore");
  plan.snapshot_id = snapshot.id;
  for (TreePair& pair : plan.pairs) pair.staged_in = context.id();

  auto begun = Transaction::begin(core, context.id(), std::move(plan));
  if (!begun.ok()) return {begun.error()};
  Transaction& transaction = *begun;
  const Status staged = stage_all(core, snapshot, transaction, context);
  if (!staged.ok()) {
    const Status cleaned = transaction.abandon();
    return {staged.error().with_context("restore " + workload.name), !cleaned.ok()};
  }
  const Status run = transaction.run(context, context.stop_token(), &context);
  if (!run.ok()) {
    return {run.error().with_context("restore " + workload.name), transaction.unfinished()};
  }
  return {complete(core, transaction, full->shown, "restored")};
}

Outcome run_undo(Core& core,
                 const catalog::Workload& workload,
                 const catalog::UndoRow& undo,
                 const RestoreOptions& options,
                 catalog::OperationContext& context) {
  context.phase("plan");
  auto full = make_undo_plan(core, workload, undo, options);
  if (!full.ok()) return {full.error()};
  if (const Status good = check_plan(full->shown, "undo of " + workload.name); !good.ok()) {
    return {good.error()};
  }
  ExchangePlan plan = plan_of(workload, *full, options, "undo");
  plan.source_undo = undo.id;

  auto begun = Transaction::begin(core, context.id(), std::move(plan));
  if (!begun.ok()) return {begun.error()};
  Transaction& transaction = *begun;
  const auto prepare = [&]() -> Status {
    const ExchangePlan& made = transaction.plan();
    TRY(make_holder(core, made.workload_id, made.undo_id, made.pairs));
    catalog::UndoRow applying = undo;
    applying.state = catalog::UndoState::kApplying;
    TRY(core.catalog.undos().update(applying));
    return transaction.record_staged();
  };
  if (const Status prepared = prepare(); !prepared.ok()) {
    const Status cleaned = transaction.abandon();
    return {prepared.error(), !cleaned.ok()};
  }
  const Status run = transaction.run(context, context.stop_token(), &context);
  if (!run.ok()) {
    return {run.error().with_context("undo " + workload.name), transaction.unfinished()};
  }
  return {complete(core, transaction, full->shown, "undone")};
}

namespace {

// The trees that went out, held open to be stored.
Result<std::vector<CaptureRoot>> open_replaced(const std::vector<TreePair>& pairs) {
  std::vector<CaptureRoot> out;
  for (const TreePair& pair : pairs) {
    TRY_ASSIGN(const OpenPair open, open_pair(pair));
    TRY_ASSIGN(os::Dir tree, open.staging.open_dir(pair.staged_name, os::Crossing::kRefuse));
    TRY_ASSIGN(const os::Handle handle, tree.handle());
    if (handle.text != pair.staged_after()) {
      return Error(Code::kCorrupt, "the replaced tree of " + printable(pair.volume.target) +
                                       " is not where it was put");
    }
    out.push_back({pair.index, pair.volume, std::move(tree)});
  }
  return out;
}

Status store_trees(Core& core,
                   const ExchangePlan& plan,
                   catalog::UndoRow& undo,
                   catalog::OperationContext& context) {
  TRY_ASSIGN(std::vector<CaptureRoot> roots, open_replaced(plan.pairs));
  catalog::SnapshotRow row;
  row.id = ids::make(ids::kSnapshot);
  row.workload_id = plan.workload_id;
  row.workload_name = plan.workload_name;
  row.operation_id = context.id();
  row.reason = catalog::SnapshotReason::kPreRestore;
  row.consistency = consistency_name(Consistency::kStopped);
  row.data_generation = plan.generation_before;
  TRY(store_capture(core, roots, row, context));
  context.phase("verify");
  TRY_ASSIGN(const repository::Id id, repository::Id::parse(row.repository_snapshot));
  TRY_ASSIGN(const std::vector<repository::CheckFinding> findings,
             repository::verify_snapshot(core.repository, id, context, context.stop_token()));
  if (!findings.empty()) {
    return Error(Code::kCorrupt, "the stored data does not read back: " + findings[0].subject +
                                     ": " + findings[0].detail);
  }
  row.verified_ms = wall_ms();
  TRY(core.catalog.snapshots().update(row));
  TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
  undo.pre_restore_snapshot = row.id;
  undo.expires_ms = wall_ms() + settings.undo_keep_s * 1000;
  return {};
}

}  // namespace

Status store_replaced(Core& core,
                      const std::string& operation,
                      catalog::OperationContext& context) {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  TRY_ASSIGN(Journal journal, Journal::open(dir, operation));
  TRY_ASSIGN(Transaction transaction, Transaction::resume(core, std::move(journal)));
  const ExchangePlan& plan = transaction.plan();
  const bool kept = transaction.kept();
  TRY_ASSIGN(std::optional<catalog::UndoRow> undo, core.catalog.undos().find(plan.undo_id));
  // Gone or ended meanwhile: nothing is left to store.
  if (!undo || undo->state != catalog::UndoState::kAvailable) return transaction.finish();
  if (undo->pre_restore_snapshot.empty()) {
    Status stored = store_trees(core, plan, *undo, context);
    if (!stored.ok()) {
      // Somebody needs the trees, or the daemon ends: the journal still asks for it.
      if (context.stop_token().stop_requested()) return stored;
      tell(core, "undo.not_stored", plan.workload_id, operation,
           "the replaced data could not be stored, so undo " + plan.undo_id +
               " never expires: " + stored.error().message());
      TRY(transaction.finish());
      return stored;
    }
    if (kept) undo->expires_ms = 0;
    TRY(core.catalog.undos().update(*undo));
    if (os::seeded(os::Bug::kUndoRemovedEarly)) TRY(remove_undo_trees(core, *undo));
  }
  tell(core, "undo.stored", plan.workload_id, operation,
       "the replaced data is stored as " + undo->pre_restore_snapshot);
  return transaction.finish();
}

std::string storing_actor(const std::string& operation) {
  return "cairnd for " + operation;
}

Result<std::string> start_storing(Core& core,
                                  const std::string& operation,
                                  const std::string& workload_id) {
  return core.operations.start(
      {.kind = std::string(kStoreKind),
       .workload_id = workload_id,
       .actor = storing_actor(operation)},
      [&core, operation](catalog::OperationContext& context) -> Result<std::string> {
        TRY(store_replaced(core, operation, context));
        return std::string("{}");
      });
}

Status remove_undo_trees(Core& core, const catalog::UndoRow& undo) {
  TRY_ASSIGN(const std::vector<TreePair> pairs, pairs_of(undo));
  for (const TreePair& pair : pairs) TRY(remove_staged(pair, pair.staged_after()));
  return remove_holder(core, undo.id);
}

}  // namespace cairn::volume
