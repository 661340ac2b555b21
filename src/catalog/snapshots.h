// Snapshots: captured states. A row in state kStored may only be written once the repository holds
// the snapshot durably (docs/ordering.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/states.h"

namespace cairn::catalog {

class Store;

struct SnapshotVolume {
  int index = 0;  // /volumes/<index> in the repository
  std::string target;
  std::string scope;
  std::string source;
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  // In the hold: entries looked at, files and bytes put aside because they had just changed.
  std::uint64_t walked = 0;
  std::uint64_t changed_files = 0;
  std::uint64_t changed_bytes = 0;
  bool operator==(const SnapshotVolume&) const = default;
};

struct SkippedVolume {
  std::string target;
  std::string scope;
  std::string code;    // "ephemeral", "unresolved", ...
  std::string reason;  // a sentence
  bool operator==(const SkippedVolume&) const = default;
};

struct SnapshotRow {
  std::string id;  // snap_...
  std::string workload_id;
  std::string workload_name;  // kept when the workload is gone
  std::string operation_id;   // the operation that made it
  SnapshotState state = SnapshotState::kCut;
  SnapshotReason reason = SnapshotReason::kManual;
  std::string consistency;  // "paused", "stopped", "live"
  std::map<std::string, std::string> labels;
  std::int64_t hold_ms = 0;
  std::string repository_snapshot;  // 64 hex characters once stored
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  std::vector<SnapshotVolume> volumes;
  std::vector<SkippedVolume> skipped;
  std::vector<std::string> warnings;
  std::int64_t data_generation = 0;
  std::string release_id;
  std::int64_t created_ms = 0;   // of the cut; 0 becomes now at insert
  std::int64_t stored_ms = 0;    // 0: not stored
  std::int64_t verified_ms = 0;  // 0: never verified
  std::string adopted_from;      // the repository's snapshot that another program made; or empty
  bool operator==(const SnapshotRow&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class SnapshotTable {
 public:
  explicit SnapshotTable(Store& store) : store_(store) {}

  Status insert(const SnapshotRow& row);  // kExists
  Status update(const SnapshotRow& row);  // kNotFound
  Result<std::optional<SnapshotRow>> find(const std::string& id);
  Result<std::optional<SnapshotRow>> find_by_repository_snapshot(const std::string& id);
  // Of one workload, or of all (empty id); newest first.
  Result<std::vector<SnapshotRow>> list(const std::string& workload_id);
  Result<std::vector<SnapshotRow>> list_in(SnapshotState state);
  Status remove(const std::string& id);  // kNotFound

 private:
  Store& store_;
};

}  // namespace cairn::catalog
