// Releases: the results of deploys. What a release holds is what its containers were made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/places.h"
#include "catalog/states.h"
#include "catalog/workloads.h"

namespace cairn::catalog {

class Store;

// Finished releases kept for each workload; older ones without instances are trimmed at insert.
inline constexpr std::int64_t kReleasesPerWorkloadMax = 100;

// One mount that the release's containers have.
struct ReleaseMount {
  std::string target;
  std::string scope;
  PlaceKind kind = PlaceKind::kBind;
  std::string place;  // host path or Docker volume name; empty for tmpfs
  bool operator==(const ReleaseMount&) const = default;
};

struct Release {
  std::string id;  // rel_...
  std::string workload_id;
  std::string image;     // repository as configured
  std::string image_id;  // sha256:..., local
  std::string digest;    // repo digest, empty when no registry knows the image
  std::string tag;
  std::string config_json;  // the effective config, without env values
  Env env;                  // secret, sealed at rest
  std::int64_t env_version = 0;
  std::int64_t config_version = 0;
  std::int64_t data_generation = 0;
  std::string volumes_json = "[]";  // the declared volumes in effect
  std::string faces_json = "[]";
  std::vector<ReleaseMount> mounts;
  ReleaseState state = ReleaseState::kDeploying;
  std::string operation_id;
  std::int64_t created_ms = 0;   // 0 becomes now at insert
  std::int64_t finished_ms = 0;  // when it left kDeploying; 0: not yet
  bool operator==(const Release&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class ReleaseTable {
 public:
  explicit ReleaseTable(Store& store) : store_(store) {}

  // kExists, kNotFound where the workload does not exist.
  Status insert(const Release& release);
  // Replaces the row with that id, but for workload_id and created_ms. kNotFound.
  Status update(const Release& release);
  // Sets the state; leaving kDeploying sets finished_ms. kNotFound.
  Status set_state(const std::string& id, ReleaseState state);
  // In one transaction: this release is kRunning, every other one of its workload that was
  // kRunning or kStopped is kRetired. kNotFound.
  Status promote(const std::string& id);
  Result<std::optional<Release>> find(const std::string& id);
  // The release in state kRunning or, for a workload that was stopped, the newest in kStopped.
  Result<std::optional<Release>> current(const std::string& workload_id);
  // Newest first.
  Result<std::vector<Release>> list(const std::string& workload_id);
  // All in one state, of all workloads: what recovery asks for.
  Result<std::vector<Release>> list_in(ReleaseState state);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
