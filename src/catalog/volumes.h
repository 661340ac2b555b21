// Persisted volume declarations of a workload; they win over the config's inline ones on the same
// target.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

class Store;

struct VolumeRow {
  std::string workload_id;
  std::string target;  // container path
  std::string source;
  std::string scope;
  std::string name;
  std::int64_t updated_ms = 0;  // set by the table
  bool operator==(const VolumeRow&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class VolumeTable {
 public:
  explicit VolumeTable(Store& store) : store_(store) {}

  // Inserts the row, or replaces the one with the same workload and target. The caller has checked
  // it. kNotFound where the workload does not exist.
  Status set(const VolumeRow& row);
  // kNotFound where no row has that target.
  Status unset(const std::string& workload_id, const std::string& target);
  Result<std::optional<VolumeRow>> find(const std::string& workload_id, const std::string& target);
  // In byte order of target.
  Result<std::vector<VolumeRow>> list(const std::string& workload_id);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
