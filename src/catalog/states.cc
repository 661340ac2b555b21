#include "catalog/states.h"

#include <fmt/format.h>

#include <array>
#include <initializer_list>

#include "base/strings.h"
#include "catalog/places.h"

namespace cairn::catalog {

std::string_view name_of(Desired value) {
  switch (value) {
    case Desired::kRunning:
      return "running";
    case Desired::kStopped:
      return "stopped";
    case Desired::kRemoved:
      return "removed";
  }
  CHECK(false);
}

std::string_view name_of(ReleaseState value) {
  switch (value) {
    case ReleaseState::kDeploying:
      return "deploying";
    case ReleaseState::kRunning:
      return "running";
    case ReleaseState::kRetired:
      return "retired";
    case ReleaseState::kFailed:
      return "failed";
    case ReleaseState::kStopped:
      return "stopped";
  }
  CHECK(false);
}

std::string_view name_of(InstanceRole value) {
  switch (value) {
    case InstanceRole::kInstance:
      return "instance";
    case InstanceRole::kHolder:
      return "holder";
  }
  CHECK(false);
}

std::string_view name_of(InstanceState value) {
  switch (value) {
    case InstanceState::kCreating:
      return "creating";
    case InstanceState::kRunning:
      return "running";
    case InstanceState::kRetiring:
      return "retiring";
  }
  CHECK(false);
}

std::string_view name_of(SnapshotState value) {
  switch (value) {
    case SnapshotState::kCut:
      return "cut";
    case SnapshotState::kStored:
      return "stored";
    case SnapshotState::kFailed:
      return "failed";
  }
  CHECK(false);
}

std::string_view name_of(SnapshotReason value) {
  switch (value) {
    case SnapshotReason::kManual:
      return "manual";
    case SnapshotReason::kPreRestore:
      return "pre_restore";
    case SnapshotReason::kImport:
      return "import";
    case SnapshotReason::kAdopted:
      return "adopted";
  }
  CHECK(false);
}

std::string_view name_of(UndoState value) {
  switch (value) {
    case UndoState::kAvailable:
      return "available";
    case UndoState::kApplying:
      return "applying";
    case UndoState::kUndone:
      return "undone";
    case UndoState::kDiscarded:
      return "discarded";
    case UndoState::kExpired:
      return "expired";
  }
  CHECK(false);
}

std::string_view name_of(OperationState value) {
  switch (value) {
    case OperationState::kRunning:
      return "running";
    case OperationState::kDone:
      return "done";
    case OperationState::kFailed:
      return "failed";
    case OperationState::kCancelled:
      return "cancelled";
    case OperationState::kInterrupted:
      return "interrupted";
  }
  CHECK(false);
}

std::string_view name_of(PlaceKind kind) {
  switch (kind) {
    case PlaceKind::kBind:
      return "bind";
    case PlaceKind::kVolume:
      return "volume";
    case PlaceKind::kTmpfs:
      return "tmpfs";
  }
  CHECK(false);
}

namespace {

template <typename Enum>
Result<Enum> find_by_name(std::string_view name, std::initializer_list<Enum> values) {
  for (const Enum value : values) {
    if (name_of(value) == name) return value;
  }
  return Error(Code::kCorrupt, fmt::format("a row has the unknown state \"{}\"", printable(name)));
}

}  // namespace

template <>
Result<Desired> parse_state(std::string_view name) {
  return find_by_name(name, {Desired::kRunning, Desired::kStopped, Desired::kRemoved});
}

template <>
Result<ReleaseState> parse_state(std::string_view name) {
  return find_by_name(name,
                      {ReleaseState::kDeploying, ReleaseState::kRunning, ReleaseState::kRetired,
                       ReleaseState::kFailed, ReleaseState::kStopped});
}

template <>
Result<InstanceRole> parse_state(std::string_view name) {
  return find_by_name(name, {InstanceRole::kInstance, InstanceRole::kHolder});
}

template <>
Result<InstanceState> parse_state(std::string_view name) {
  return find_by_name(
      name, {InstanceState::kCreating, InstanceState::kRunning, InstanceState::kRetiring});
}

template <>
Result<SnapshotState> parse_state(std::string_view name) {
  return find_by_name(name, {SnapshotState::kCut, SnapshotState::kStored, SnapshotState::kFailed});
}

template <>
Result<SnapshotReason> parse_state(std::string_view name) {
  return find_by_name(name, {SnapshotReason::kManual, SnapshotReason::kPreRestore,
                             SnapshotReason::kImport, SnapshotReason::kAdopted});
}

template <>
Result<UndoState> parse_state(std::string_view name) {
  return find_by_name(name, {UndoState::kAvailable, UndoState::kApplying, UndoState::kUndone,
                             UndoState::kDiscarded, UndoState::kExpired});
}

template <>
Result<OperationState> parse_state(std::string_view name) {
  return find_by_name(name,
                      {OperationState::kRunning, OperationState::kDone, OperationState::kFailed,
                       OperationState::kCancelled, OperationState::kInterrupted});
}

template <>
Result<PlaceKind> parse_state(std::string_view name) {
  return find_by_name(name, {PlaceKind::kBind, PlaceKind::kVolume, PlaceKind::kTmpfs});
}

}  // namespace cairn::catalog
