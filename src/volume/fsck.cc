#include "volume/fsck.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/ids.h"
#include "base/strings.h"
#include "repository/checker.h"
#include "repository/pruner.h"
#include "volume/archive_import.h"
#include "volume/exchange.h"
#include "volume/holder.h"
#include "volume/journal.h"
#include "volume/named.h"
#include "volume/transaction.h"

namespace cairn::volume {

namespace {

// The old data of an undo.
bool is_where_it_was_put(const TreePair& pair) {
  const auto open = open_pair(pair);
  if (!open.ok()) return false;
  const auto handle = open->staging.handle(pair.staged_name);
  return handle.ok() && handle->text == pair.staged_after();
}

// One check. One thread.
class Checker {
 public:
  explicit Checker(Core& core) : core_(core) {}
  Status check_journals();
  Status check_repository();
  Status check_undos();
  Status check_holders();
  Status check_staging();

  std::vector<catalog::Finding> findings;

 private:
  void add(std::string code, std::string subject, std::string detail) {
    findings.push_back({std::move(code), std::move(subject), std::move(detail)});
  }

  Core& core_;
  std::set<std::string> operations_;  // that have a journal
  std::set<std::string> undo_trees_;  // staging directories that a live undo names
  std::set<std::string> left_trees_;  // that one names which is discarded or expired
  std::set<std::string> live_undos_;
};

Status Checker::check_journals() {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core_));
  TRY_ASSIGN(const std::vector<std::string> journals, list_journals(dir));
  for (const std::string& operation : journals) {
    operations_.insert(operation);
    auto journal = Journal::open(dir, operation);
    if (!journal.ok()) {
      if (journal.error().code() == Code::kNotFound) continue;  // it ended just now
      add("journal_damaged", operation, journal.error().message());
      continue;
    }
    if (journal->state() == state::kStoring) continue;
    const auto json = nlohmann::json::parse(journal->records().front().json, nullptr, false);
    const std::string workload = json.is_object() ? json.value("workload_id", "") : "";
    const std::string holder = core_.locks.holder("workload:" + workload);
    if (holder.empty() || holder == parallel::kRecovering) {
      add("unfinished_journal", operation,
          fmt::format("is in state {} and {}", journal->state(),
                      holder.empty() ? "nobody works on it" : "its recovery waits"));
    }
  }
  return {};
}

Status Checker::check_repository() {
  NoProgress progress;
  TRY_ASSIGN(const std::vector<repository::CheckFinding> found,
             repository::check(core_.repository, repository::ReadData::kNo, progress, {}));
  for (const repository::CheckFinding& one : found) {
    if (one.severity == repository::CheckFinding::Severity::kError) {
      add("repository_damaged", one.subject, one.detail);
    }
  }
  // What goes on now has packs without an index, and nothing else may.
  TRY_ASSIGN(const std::vector<repository::StoredFile> unindexed,
             repository::find_unindexed(core_.repository));
  if (!unindexed.empty() && core_.operations.running() == 0) {
    std::uint64_t bytes = 0;
    for (const repository::StoredFile& pack : unindexed) bytes += pack.size_bytes;
    add("unindexed_packs", core_.repository.backend().location(),
        fmt::format("{} packs, {} bytes, of a store that was interrupted: cairnd removes them when "
                    "it starts, unless something else is damaged",
                    unindexed.size(), bytes));
  }
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> rows, core_.catalog.snapshots().list(""));
  TRY_ASSIGN(const std::vector<repository::SnapshotInfo> stored, core_.repository.snapshots());
  std::set<std::string> named;
  for (const catalog::SnapshotRow& row : rows) {
    named.insert(row.id);
    if (row.state == catalog::SnapshotState::kFailed) {
      add("half_removed_snapshot", row.id, "was being removed");
      continue;
    }
    const bool there = std::ranges::any_of(stored, [&row](const repository::SnapshotInfo& one) {
      return one.id.hex() == row.repository_snapshot;
    });
    if (row.state == catalog::SnapshotState::kStored && !there) {
      add("missing_repository_snapshot", row.id,
          "the repository has no snapshot " + row.repository_snapshot);
    }
    const auto operation = core_.operations.find(row.operation_id);
    const bool working = operation.ok() && operation->has_value() &&
                         (*operation)->state == catalog::OperationState::kRunning;
    if (row.state == catalog::SnapshotState::kCut && !working) {
      add("half_stored_snapshot", row.id, "was cut and is not stored");
    }
  }
  for (const repository::SnapshotInfo& one : stored) {
    for (const std::string& tag : one.meta.tags) {
      if (ids::is(ids::kSnapshot, tag) && !named.contains(tag)) {
        add("unknown_repository_snapshot", one.id.hex(), "no row names " + tag);
      }
    }
  }
  return {};
}

Status Checker::check_undos() {
  TRY_ASSIGN(const std::vector<catalog::UndoRow> undos, core_.catalog.undos().list(""));
  for (const catalog::UndoRow& undo : undos) {
    const bool live =
        undo.state == catalog::UndoState::kAvailable || undo.state == catalog::UndoState::kApplying;
    const bool held = !core_.locks.holder("workload:" + undo.workload_id).empty();
    const auto pairs = pairs_of(undo);
    if (!live) {
      if (undo.state == catalog::UndoState::kUndone || held || !pairs.ok()) continue;
      for (const TreePair& pair : *pairs) {
        if (is_where_it_was_put(pair)) left_trees_.insert(pair.staged_in);
      }
      continue;
    }
    live_undos_.insert(undo.id);
    if (!pairs.ok()) {
      undo_trees_.insert(undo.operation_id);
      add("undo_damaged", undo.id, pairs.error().message());
      continue;
    }
    for (const TreePair& pair : *pairs) {
      undo_trees_.insert(pair.staged_in);
      if (held) continue;  // its trees move just now
      if (!is_where_it_was_put(pair)) {
        add("undo_tree_missing", undo.id,
            "the old data of " + printable(pair.volume.target) + " is not where it was put");
      }
    }
    if (!held && !held_volumes(*pairs).empty()) {
      TRY_ASSIGN(const auto holder, core_.engine.find_container(holder_name(undo.id)));
      if (!holder.has_value()) {
        add("missing_holder", undo.id,
            "container " + holder_name(undo.id) + " is gone: a prune may remove its volumes");
      }
    }
    if (undo.state == catalog::UndoState::kApplying && !held) {
      add("undo_stuck", undo.id, "is being applied and nobody works on it");
    }
    if (undo.pre_restore_snapshot.empty()) continue;
    TRY_ASSIGN(const std::optional<catalog::SnapshotRow> row,
               core_.catalog.snapshots().find(undo.pre_restore_snapshot));
    if (!row) add("undo_snapshot_missing", undo.id, "no snapshot " + undo.pre_restore_snapshot);
  }
  return {};
}

// Holders whose undo has ended, or never began.
Status Checker::check_holders() {
  TRY_ASSIGN(const std::vector<catalog::Instance> rows, core_.catalog.instances().list(""));
  for (const catalog::Instance& row : rows) {
    if (row.role != catalog::InstanceRole::kHolder) continue;
    if (live_undos_.contains(undo_of_holder(row.container_name))) continue;
    if (!core_.locks.holder("workload:" + row.workload_id).empty()) continue;
    add("leftover_holder", row.container_name, "no undo needs it any more");
  }
  return {};
}

Status Checker::check_staging() {
  TRY_ASSIGN(const std::vector<catalog::Place> places, core_.catalog.places().list(""));
  std::set<std::string> homes;
  for (const catalog::Place& place : places) {
    for (std::string& home : staging_homes(core_.engine, place)) homes.insert(std::move(home));
  }
  for (const std::string& home : homes) {
    const auto dir = os::Dir::open(home);
    if (!dir.ok()) continue;
    auto staging = dir->open_dir(std::string(kStagingName));
    if (!staging.ok()) continue;
    TRY_ASSIGN(const std::vector<os::Entry> entries, staging->list());
    for (const os::Entry& entry : entries) {
      if (undo_trees_.contains(entry.name) || operations_.contains(entry.name)) continue;
      if (entry.name.starts_with(kTrialPrefix)) continue;  // of a plan that is being made
      const auto operation = core_.operations.find(entry.name);
      const bool working = operation.ok() && operation->has_value() &&
                           (*operation)->state == catalog::OperationState::kRunning;
      if (working) continue;
      const std::string path = home + "/.cairn/" + printable(entry.name);
      if (left_trees_.contains(entry.name)) {
        add("half_removed_undo", path, "is of an undo that has ended");
      } else {
        add("unknown_staging", path, "no journal and no undo names it");
      }
    }
  }
  TRY_ASSIGN(const std::vector<std::string> imports, list_stray_imports(core_));
  for (const std::string& name : imports) {
    add("leftover_import", core_.data_dir + "/import/" + printable(name), "no import works on it");
  }
  return {};
}

}  // namespace

Result<std::vector<catalog::Finding>> check_data(Core& core) {
  Checker checker(core);
  TRY(checker.check_journals());
  TRY(checker.check_repository());
  TRY(checker.check_undos());
  TRY(checker.check_holders());
  TRY(checker.check_staging());
  return std::move(checker.findings);
}

}  // namespace cairn::volume
