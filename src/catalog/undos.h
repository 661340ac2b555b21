// Undos: the data that was there before a restore. A row names trees that are on disk: it is
// written before they become the undo and ends before they are removed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/states.h"

namespace cairn::catalog {

class Store;

struct UndoRow {
  std::string id;  // undo_...
  std::string workload_id;
  std::string workload_name;         // kept when the workload is gone
  std::string operation_id;          // the restore or undo that made it
  std::string snapshot_id;           // what was restored; empty where an undo made it
  std::string pre_restore_snapshot;  // snap_... of the old data, empty until it is stored
  std::int64_t made_generation = 0;  // the data generation that the restore made
  UndoState state = UndoState::kAvailable;
  std::int64_t expires_ms = 0;  // 0: never
  std::string volumes_json;     // opaque here: the volume floor's own text
  std::int64_t created_ms = 0;  // 0 becomes now at insert
  bool operator==(const UndoRow&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class UndoTable {
 public:
  explicit UndoTable(Store& store) : store_(store) {}

  Status insert(const UndoRow& row);  // kExists
  Status update(const UndoRow& row);  // kNotFound
  Result<std::optional<UndoRow>> find(const std::string& id);
  // The undo that an operation made.
  Result<std::optional<UndoRow>> find_by_operation(const std::string& operation_id);
  // Of one workload, or of all (empty id); newest first.
  Result<std::vector<UndoRow>> list(const std::string& workload_id);
  // Those in state kAvailable whose expires_ms is set and at or before now_ms.
  Result<std::vector<UndoRow>> list_expired(std::int64_t now_ms);
  Status remove(const std::string& id);  // kNotFound

 private:
  Store& store_;
};

}  // namespace cairn::catalog
