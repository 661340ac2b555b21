// The states that catalog rows go through, and their stable lower-case names (stored, and shown by
// the API). Pure functions.
#pragma once

#include <string_view>

#include "base/result.h"

namespace cairn::catalog {

// What the owner wants of a workload, whatever it does now.
enum class Desired {
  kRunning,
  kStopped,
  kRemoved,  // being removed: durable before the first container goes, so that a crash goes on
};

enum class ReleaseState {
  kDeploying,
  kRunning,
  kRetired,  // a newer release took its place
  kFailed,   // never got healthy
  kStopped,  // its workload was stopped or removed
};

enum class InstanceRole {
  kInstance,  // serves
  kHolder,    // never started; keeps a Docker volume from being pruned
};

enum class InstanceState {
  kCreating,  // the container may or may not exist yet
  kRunning,   // created, and started at least once (a holder: created)
  kRetiring,  // to be removed
};

enum class SnapshotState {
  kCut,     // captured, not yet in the repository
  kStored,  // the repository holds it
  kFailed,
};

enum class SnapshotReason { kManual, kPreRestore, kImport, kAdopted };

enum class UndoState {
  kAvailable,
  kApplying,
  kUndone,
  kDiscarded,
  kExpired,
};

enum class OperationState {
  kRunning,
  kDone,
  kFailed,
  kCancelled,
  kInterrupted,  // the daemon ended before it did
};

// "running", "pre_restore", ...
std::string_view name_of(Desired value);
std::string_view name_of(ReleaseState value);
std::string_view name_of(InstanceRole value);
std::string_view name_of(InstanceState value);
std::string_view name_of(SnapshotState value);
std::string_view name_of(SnapshotReason value);
std::string_view name_of(UndoState value);
std::string_view name_of(OperationState value);

// The value with that name; kCorrupt otherwise, since the text comes from the catalog's own rows.
template <typename Enum>
Result<Enum> parse_state(std::string_view name);
template <>
Result<Desired> parse_state(std::string_view name);
template <>
Result<ReleaseState> parse_state(std::string_view name);
template <>
Result<InstanceRole> parse_state(std::string_view name);
template <>
Result<InstanceState> parse_state(std::string_view name);
template <>
Result<SnapshotState> parse_state(std::string_view name);
template <>
Result<SnapshotReason> parse_state(std::string_view name);
template <>
Result<UndoState> parse_state(std::string_view name);
template <>
Result<OperationState> parse_state(std::string_view name);

}  // namespace cairn::catalog
