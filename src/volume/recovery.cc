#include "volume/recovery.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "repository/pruner.h"
#include "volume/archive_import.h"
#include "volume/capture_recovery.h"
#include "volume/hold.h"
#include "volume/holder.h"
#include "volume/journal.h"
#include "volume/known_facts.h"
#include "volume/named.h"
#include "volume/restore.h"
#include "volume/transaction.h"

namespace cairn::volume {

namespace {

constexpr std::int64_t kRetryMs = 1000;

bool is_capture(const Journal& journal) {
  return journal.records().front().state == kCapturing;
}

std::string workload_of(const Journal& journal) {
  const auto json = nlohmann::json::parse(journal.records().front().json, nullptr, false);
  return json.is_object() && json.contains("workload_id") && json["workload_id"].is_string()
             ? json["workload_id"].get<std::string>()
             : std::string();
}

// The workload of an operation with a journal; empty where neither that nor the catalog tells.
std::string workload_of(Core& core, const std::string& operation) {
  if (const auto dir = open_journal_dir(core); dir.ok()) {
    if (const auto journal = Journal::open(*dir, operation); journal.ok()) {
      return workload_of(*journal);
    }
  }
  const auto row = core.operations.find(operation);
  return row.ok() && row->has_value() ? (*row)->workload_id : std::string();
}

bool needs_engine(const Journal& journal) {
  if (is_capture(journal)) return true;
  return journal.state() != state::kPlanned && journal.state() != state::kStaged &&
         journal.state() != state::kUndone && journal.state() != state::kStoring;
}

// Removes the scratch directories of plans that a crash cut off. No plan may be in the making.
Status remove_trials(Core& core) {
  TRY_ASSIGN(const std::vector<catalog::Place> places, core.catalog.places().list(""));
  for (const catalog::Place& place : places) {
    for (const std::string& path : staging_homes(core.engine, place)) {
      const auto home = os::Dir::open(path);
      if (!home.ok()) continue;
      const auto staging = home->open_dir(std::string(kStagingName), os::Crossing::kRefuse);
      if (!staging.ok()) continue;
      TRY_ASSIGN(const std::vector<os::Entry> entries, staging->list());
      for (const os::Entry& entry : entries) {
        if (entry.name.starts_with(kTrialPrefix)) TRY(staging->remove_tree(entry.name));
      }
    }
  }
  return {};
}

// What a store that was cut off left in the repository. Nobody of this process may be storing.
void remove_half_stored(Core& core) {
  const auto removed = repository::remove_unindexed(core.repository);
  if (!removed.ok()) {
    log::warn("packs that no index names: {}", removed.error().message());
  } else if (removed->packs_removed != 0) {
    tell(core, "repository.cleaned", "", "",
         fmt::format("{} packs, {} bytes, of a store that was interrupted are removed",
                     removed->packs_removed, removed->bytes_freed));
  }
}

// What an operation on a workload's volumes locks, and at least the workload.
std::vector<std::string> keys_of(Core& core, const std::string& workload_id) {
  if (const auto workload = core.catalog.workloads().get(workload_id); workload.ok()) {
    if (auto keys = volume_keys(core, *workload); keys.ok()) return std::move(*keys);
  }
  return {"workload:" + workload_id};
}

// Makes an undo available again that is being applied although no journal works on it: somebody
// removed a damaged one. Whether its trees are where they were put, applying it finds out anyway.
Status release_undo(Core& core, catalog::UndoRow undo) {
  if (undo.state != catalog::UndoState::kApplying ||
      !core.locks.holder("workload:" + undo.workload_id).empty()) {
    return {};
  }
  undo.state = catalog::UndoState::kAvailable;
  TRY(core.catalog.undos().update(undo));
  tell(core, "undo.available", undo.workload_id, undo.operation_id,
       "undo " + undo.id + " was being applied and no journal says how far: it is available again");
  return {};
}

// Removes holders of undos that never came to be: somebody removed their restore's damaged journal.
Status remove_ownerless_holders(Core& core) {
  TRY_ASSIGN(const std::vector<catalog::Instance> rows, core.catalog.instances().list(""));
  for (const catalog::Instance& row : rows) {
    if (row.role != catalog::InstanceRole::kHolder) continue;
    if (!core.locks.holder("workload:" + row.workload_id).empty()) continue;
    const std::string undo = undo_of_holder(row.container_name);
    TRY_ASSIGN(const std::optional<catalog::UndoRow> owner, core.catalog.undos().find(undo));
    if (!owner.has_value()) TRY(remove_holder(core, undo));
  }
  return {};
}

// Sees the operation's end in the catalog: the row of the restore that a crash interrupted.
std::vector<std::string> keys_of(Core& core, Journal journal) {
  std::vector<std::string> keys{"workload:" + workload_of(journal)};
  if (is_capture(journal)) return keys;
  const auto transaction = Transaction::resume(core, std::move(journal));
  return transaction.ok() ? transaction->keys() : keys;
}

}  // namespace

Recovery::~Recovery() {
  std::jthread ending;
  {
    const std::lock_guard lock(mutex_);
    ending = std::move(thread_);
  }
  // The jthread's destructor requests the stop and joins, without the mutex.
}

Status Recovery::run() {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core_));
  TRY_ASSIGN(const std::vector<std::string> operations, list_journals(dir));
  const bool engine_up = core_.engine.ping().ok();
  if (const Status removed = remove_trials(core_); !removed.ok()) {
    log::warn("scratch directories of plans: {}", removed.error().message());
  }
  if (const Status removed = remove_imports(core_); !removed.ok()) {
    log::warn("staging of imports: {}", removed.error().message());
  }
  std::vector<std::string> storing;
  std::vector<std::pair<std::string, Error>> damaged;
  for (const std::string& operation : operations) {
    auto journal = Journal::open(dir, operation);
    if (!journal.ok()) {
      damaged.emplace_back(operation, journal.error());
      continue;
    }
    if (!is_capture(*journal) && journal->state() == state::kStoring) {
      storing.push_back(operation);
      continue;
    }
    auto lock = core_.locks.try_lock(keys_of(core_, std::move(*journal)),
                                     std::string(parallel::kRecovering));
    if (!lock.ok()) return lock.error().with_context("recover " + operation);
    Status recovered = recover_one(operation, engine_up, {});
    if (!recovered.ok() && recovered.error().code() == Code::kNoSpace) {
      TRY(core_.catalog.release_reserve());
      recovered = recover_one(operation, engine_up, {});
    }
    if (recovered.ok()) {
      storing.push_back(operation);
      continue;
    }
    keep(operation, std::move(*lock));
    tell_why(operation, recovered.error().message());
  }
  // Last, since a workload that is locked already may be another journal's as well.
  for (const auto& [operation, why] : damaged) keep_damaged(operation, why);
  TRY(recover_cut_rows(core_));
  remove_stale_facts(core_);
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> going,
             core_.catalog.snapshots().list_in(catalog::SnapshotState::kFailed));
  for (const catalog::SnapshotRow& row : going) TRY(remove_stored(core_, row));
  TRY_ASSIGN(const std::vector<catalog::UndoRow> undos, core_.catalog.undos().list(""));
  for (const catalog::UndoRow& undo : undos) {
    TRY(release_undo(core_, undo));
    if (const Status held = settle_holder(core_, undo); !held.ok()) {
      log::warn("holder of undo {}: {}", undo.id, held.error().message());
    }
    if (undo.state != catalog::UndoState::kDiscarded &&
        undo.state != catalog::UndoState::kExpired) {
      continue;
    }
    if (const Status removed = remove_undo_trees(core_, undo); !removed.ok()) {
      log::warn("trees of undo {}: {}", undo.id, removed.error().message());
    }
  }
  if (const Status removed = remove_ownerless_holders(core_); !removed.ok()) {
    log::warn("holders without an undo: {}", removed.error().message());
  }
  remove_half_stored(core_);
  for (const std::string& operation : storing) resume_storing(core_, operation);
  return {};
}

Status Recovery::recover_one(const std::string& operation, bool engine_up, std::stop_token stop) {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core_));
  auto journal = Journal::open(dir, operation);
  if (!journal.ok()) {
    if (journal.error().code() == Code::kNotFound) return {};
    return journal.error();
  }
  if (!engine_up && needs_engine(*journal)) {
    return Error(Code::kUnavailable, "the engine is down");
  }
  if (is_capture(*journal)) return recover_capture(core_, operation, stop);
  TRY_ASSIGN(Transaction transaction, Transaction::resume(core_, std::move(*journal)));
  NoProgress progress;
  return transaction.recover(progress, stop);
}

void Recovery::keep_damaged(const std::string& operation, const Error& why) {
  const std::string workload = workload_of(core_, operation);
  tell(core_, "journal.damaged", workload, operation,
       why.message() + "; nothing is done about it, see the operations guide on journal_damaged");
  if (workload.empty()) return;  // the catalog is older than the journal
  auto lock = core_.locks.try_lock(keys_of(core_, workload), std::string(parallel::kRecovering));
  if (!lock.ok()) {  // a place that it shares with another one that waits
    lock = core_.locks.try_lock({"workload:" + workload}, std::string(parallel::kRecovering));
  }
  if (!lock.ok()) return;  // locked as it is, and told
  keep(operation, std::move(*lock));
  const std::lock_guard guard(mutex_);
  const auto waiting = waiting_.find(operation);
  if (waiting != waiting_.end()) waiting->second.why = why.message();
}

void Recovery::tell_why(const std::string& operation, const std::string& why) {
  std::string workload;
  {
    const std::lock_guard guard(mutex_);
    const auto waiting = waiting_.find(operation);
    if (waiting == waiting_.end() || std::exchange(waiting->second.why, why) == why) return;
    workload = waiting->second.workload;
  }
  tell(core_, "recovery.waits", workload, operation, "recovery of " + operation + " waits: " + why);
}

void Recovery::keep(const std::string& operation, parallel::LockGuard lock) {
  std::string workload = workload_of(core_, operation);
  lock.hand_over(std::string(parallel::kRecovering));
  const std::lock_guard guard(mutex_);
  waiting_[operation] = {std::move(lock), std::move(workload), ""};
  if (!thread_.joinable()) {
    thread_ = std::jthread([this](std::stop_token stop) { retry_until_done(stop); });
  }
  wake_.notify_all();
}

void Recovery::keep_if_unfinished(const std::string& operation, parallel::LockGuard lock) {
  const auto dir = open_journal_dir(core_);
  if (!dir.ok()) return;
  const auto found = dir->find(operation);
  if (found.ok() && found->has_value()) keep(operation, std::move(lock));
}

void Recovery::retry_until_done(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::vector<std::string> operations;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, stop, [this] { return !waiting_.empty(); });
      if (stop.stop_requested()) return;
      wake_.wait_for(lock, stop, std::chrono::milliseconds(kRetryMs), [] { return false; });
      for (const auto& [operation, held] : waiting_) operations.push_back(operation);
    }
    const bool engine_up = core_.engine.ping().ok();
    for (const std::string& operation : operations) {
      if (stop.stop_requested()) return;
      const Status recovered = recover_one(operation, engine_up, stop);
      if (!recovered.ok() && recovered.error().code() == Code::kNoSpace) {
        (void)core_.catalog.release_reserve().ok();  // room for the next try
      }
      if (!recovered.ok()) {
        tell_why(operation, recovered.error().message());
        continue;
      }
      {
        const std::lock_guard lock(mutex_);
        waiting_.erase(operation);
      }
      resume_storing(core_, operation);
    }
  }
}

std::vector<std::string> Recovery::waiting() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [operation, one] : waiting_) out.push_back(one.workload);
  return out;
}

Status remove_stored(Core& core, const catalog::SnapshotRow& snapshot) {
  if (!snapshot.repository_snapshot.empty()) {
    TRY_ASSIGN(const repository::Id id, repository::Id::parse(snapshot.repository_snapshot));
    const Status removed = core.repository.remove_snapshot(id);
    if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  }
  TRY(core.catalog.snapshots().remove(snapshot.id));
  tell(core, "snapshot.removed", snapshot.workload_id, snapshot.operation_id,
       "snapshot " + snapshot.id + " was removed");
  return {};
}

Status stop_storing(Core& core, const std::string& operation) {
  TRY_ASSIGN(const std::vector<catalog::OperationRow> rows,
             core.operations.list("", catalog::kOperationsPerListMax));
  for (const catalog::OperationRow& row : rows) {
    if (row.kind != kStoreKind || row.state != catalog::OperationState::kRunning ||
        row.actor != storing_actor(operation)) {
      continue;
    }
    // It may end by itself just now, which is as good.
    (void)core.operations.cancel(row.id).ok();
    TRY_ASSIGN(const catalog::OperationRow ended, core.operations.wait(row.id));
    (void)ended;
  }
  return {};
}

void resume_storing(Core& core, const std::string& operation) {
  const auto dir = open_journal_dir(core);
  if (!dir.ok()) return;
  const auto journal = Journal::open(*dir, operation);
  if (!journal.ok() || is_capture(*journal) || journal->state() != state::kStoring) return;
  const auto started = start_storing(core, operation, workload_of(*journal));
  if (!started.ok()) log::warn("store after {}: {}", operation, started.error().message());
}

}  // namespace cairn::volume
