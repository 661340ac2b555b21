#include "os/fault.h"

#include <cstdlib>

namespace cairn::os {

std::string_view bug_name(Bug bug) {
  switch (bug) {
    case Bug::kPublishSkipsFileSync:
      return "publish_skips_file_sync";
    case Bug::kPublishSkipsDirectorySync:
      return "publish_skips_directory_sync";
    case Bug::kJournalSkipsSync:
      return "journal_skips_sync";
    case Bug::kJournalStateAfterEffect:
      return "journal_state_after_effect";
    case Bug::kStageSkipsSync:
      return "stage_skips_sync";
    case Bug::kExchangeSkipsParentSync:
      return "exchange_skips_parent_sync";
    case Bug::kBlindSecondExchange:
      return "blind_second_exchange";
    case Bug::kCommitBeforeExchange:
      return "commit_before_exchange";
    case Bug::kResumeForgotten:
      return "resume_forgotten";
    case Bug::kPolicyLeftNo:
      return "policy_left_no";
    case Bug::kPolicyNotSetNo:
      return "policy_not_set_no";
    case Bug::kEarlySnapshotRow:
      return "early_snapshot_row";
    case Bug::kSnapshotBeforeIndex:
      return "snapshot_before_index";
    case Bug::kPackSkipsSync:
      return "pack_skips_sync";
    case Bug::kUndoRemovedEarly:
      return "undo_removed_early";
    case Bug::kStaleHandle:
      return "stale_handle";
    case Bug::kRecoveryIgnoresUndoing:
      return "recovery_ignores_undoing";
    case Bug::kRecoverySkipsStart:
      return "recovery_skips_start";
    case Bug::kStagingLeftBehind:
      return "staging_left_behind";
    case Bug::kOldContainerRemovedFirst:
      return "old_container_removed_first";
    case Bug::kDesiredStateNotStored:
      return "desired_state_not_stored";
    case Bug::kWatcherNotStarted:
      return "watcher_not_started";
    case Bug::kUndoRowMissing:
      return "undo_row_missing";
  }
  return "";
}

#ifdef CAIRN_SEEDED_BUGS
bool seeded(Bug bug) {
  const char* wanted = std::getenv("CAIRN_BUG");
  return wanted != nullptr && bug_name(bug) == wanted;
}
#endif

}  // namespace cairn::os
