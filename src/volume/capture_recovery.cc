#include "volume/capture_recovery.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "os/fault.h"
#include "volume/hold.h"
#include "volume/journal.h"

namespace cairn::volume {

Status recover_capture(Core& core, const std::string& operation, const std::stop_token& stop) {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  TRY_ASSIGN(Journal journal, Journal::open(dir, operation));
  const auto json = nlohmann::json::parse(journal.records().front().json, nullptr, false);
  TRY_ASSIGN(const CaptureJournal what, parse_capture_journal(json));
  if (what.consistency == Consistency::kStopped) {
    HoldClock clock;
    TRY(restart_stopped(core, what.workload_id, what.containers, clock, stop));
  } else if (!os::seeded(os::Bug::kResumeForgotten)) {
    TRY(while_engine_is_down(stop, [&] { return unpause_all(core.engine, what.containers); }));
  }
  std::string words =
      "an interrupted capture was given up; the workload's containers run as before";
  if (!what.post.command.empty()) {
    const Status post =
        while_engine_is_down(stop, [&] { return run_hook(core.engine, what.post, "post"); });
    if (!post.ok() && post.error().code() == Code::kUnavailable) return post;
    words += post.ok() ? "; the post command was run" : "; " + post.error().message();
  }
  tell(core, "snapshot.recovered", what.workload_id, operation, words);
  return journal.remove(dir);
}

Status recover_cut_rows(Core& core) {
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> rows,
             core.catalog.snapshots().list_in(catalog::SnapshotState::kCut));
  if (rows.empty()) return {};
  TRY_ASSIGN(const std::vector<repository::SnapshotInfo> stored, core.repository.snapshots());
  for (catalog::SnapshotRow row : rows) {
    const auto found = std::ranges::find_if(stored, [&row](const repository::SnapshotInfo& one) {
      return std::ranges::find(one.meta.tags, row.id) != one.meta.tags.end();
    });
    if (found == stored.end()) {
      TRY(core.catalog.snapshots().remove(row.id));
      tell(core, "snapshot.recovered", row.workload_id, row.operation_id,
           "snapshot " + row.id + " was cut but not stored when the daemon ended; it is gone");
      continue;
    }
    row.repository_snapshot = found->id.hex();
    row.state = catalog::SnapshotState::kStored;
    row.stored_ms = wall_ms();
    TRY(core.catalog.snapshots().update(row));
    tell(core, "snapshot.recovered", row.workload_id, row.operation_id,
         "snapshot " + row.id + " was stored when the daemon ended");
  }
  return {};
}

}  // namespace cairn::volume
