// Workloads: what Cairn keeps running. Removing one deletes its row here; its snapshots and undos
// keep its id and name. Env values are sealed at rest.
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

inline constexpr std::size_t kWorkloadsMax = 10'000;

using Env = std::map<std::string, std::string>;

struct Workload {
  std::string id;           // wl_...
  std::string name;         // unique, never changed
  std::string kind;         // "image"
  std::string config_json;  // without env values
  Env env;                  // secret: never in logs, events, the API
  std::string faces_json = "[]";
  Desired desired = Desired::kStopped;
  std::int64_t data_generation = 0;  // raised by every restore and undo
  std::int64_t env_version = 1;
  std::int64_t config_version = 1;
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
  bool operator==(const Workload&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class WorkloadTable {
 public:
  explicit WorkloadTable(Store& store) : store_(store) {}

  // The row as given; created_ms and updated_ms of 0 become now. kExists where the name or id is
  // taken, kRefused past kWorkloadsMax.
  Status insert(const Workload& workload);

  struct Change {
    std::string config_json;
    Env env;
    std::string faces_json = "[]";
  };
  // The new row. config_version rises when anything differs, env_version only when env does; an
  // equal change writes nothing. kNotFound.
  Result<Workload> update_config(const std::string& id, const Change& change);

  // By id or by name.
  Result<std::optional<Workload>> find(const std::string& id_or_name);
  // The same; kNotFound with the name in the message.
  Result<Workload> get(const std::string& id_or_name);
  // In order of name.
  Result<std::vector<Workload>> list();

  // kNotFound.
  Status set_desired(const std::string& id, Desired desired);
  // Raises data_generation by one and returns it. kNotFound.
  Result<std::int64_t> bump_generation(const std::string& id);
  // Sets data_generation to at least the given one (a recovery repeats it safely). kNotFound.
  Status raise_generation(const std::string& id, std::int64_t at_least);

  // Deletes the row with its volume rows and releases; places, snapshots, undos, events stay.
  // kConflict while rows of serving instances exist (remove the containers first; holders may stay
  // with the undos), kNotFound.
  Status remove(const std::string& id);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
