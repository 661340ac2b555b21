// Instances: the containers that Cairn made. A row is written before its container is created, by
// name, so that no container can be lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/states.h"

namespace cairn::catalog {

class Store;

struct Instance {
  std::string container_name;  // primary key
  std::string container_id;    // empty until created
  std::string workload_id;
  std::string release_id;  // empty for a holder
  InstanceRole role = InstanceRole::kInstance;
  InstanceState state = InstanceState::kCreating;
  int port = 0;                 // the container's port it serves on; 0: none
  std::int64_t created_ms = 0;  // 0 becomes now at insert
  bool operator==(const Instance&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class InstanceTable {
 public:
  explicit InstanceTable(Store& store) : store_(store) {}

  // kExists where the container name is taken.
  Status insert(const Instance& instance);
  // Replaces the row with that container name. kNotFound.
  Status update(const Instance& instance);
  // Forgets the row; one that is not there is fine.
  Status remove(const std::string& container_name);
  // By container name, or by container id.
  Result<std::optional<Instance>> find(const std::string& container_name_or_id);
  // Of one workload, or of all (empty id); oldest first.
  Result<std::vector<Instance>> list(const std::string& workload_id);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
