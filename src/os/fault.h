// Bugs on purpose: a build with -DCAIRN_SEEDED_BUGS=ON has them all, one of which the environment
// variable CAIRN_BUG turns on by name. The crash harness must catch each (tests/crash/). In every
// other build seeded() is a constant false and leaves no trace in the program.
#pragma once

#include <string_view>

namespace cairn::os {

enum class Bug {
  kPublishSkipsFileSync,
  kPublishSkipsDirectorySync,
  kJournalSkipsSync,
  kJournalStateAfterEffect,
  kStageSkipsSync,
  kExchangeSkipsParentSync,
  kBlindSecondExchange,
  kCommitBeforeExchange,
  kResumeForgotten,
  kPolicyLeftNo,
  kPolicyNotSetNo,
  kEarlySnapshotRow,
  kSnapshotBeforeIndex,
  kPackSkipsSync,
  kUndoRemovedEarly,
  kStaleHandle,
  kRecoveryIgnoresUndoing,
  kRecoverySkipsStart,
  kStagingLeftBehind,
  kOldContainerRemovedFirst,
  kDesiredStateNotStored,
  kWatcherNotStarted,
  kUndoRowMissing,
};

#ifdef CAIRN_SEEDED_BUGS
bool seeded(Bug bug);
#else
constexpr bool seeded(Bug) {
  return false;
}
#endif

// The name that CAIRN_BUG takes.
std::string_view bug_name(Bug bug);

}  // namespace cairn::os
