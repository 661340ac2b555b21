// Lifecycle: what the volume engines need of a workload's containers without knowing how deploying
// works. Implemented by the workload floor; a fake lives in the tests.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"

namespace cairn::volume {

// One container of a workload as it was seen before Cairn touched it. Journaled, so that every way
// out can put back what was: restart policies last.
struct ContainerState {
  std::string id;
  std::string name;
  bool running = false;
  bool paused = false;          // paused by somebody before us
  std::string restart_policy;   // "no", "on-failure", "unless-stopped"
  int restart_retries_max = 0;  // of on-failure
  int stop_grace_s = 10;        // seconds between the stop signal and SIGKILL
  bool operator==(const ContainerState&) const = default;
};

// Thread-safe. No call takes the workload's lock: the caller holds it.
class Lifecycle {
 public:
  virtual ~Lifecycle() = default;

  // The workload's containers that serve (role of an instance), as the engine sees them now,
  // running or not. Empty for a workload that was never deployed. kUnavailable: engine down.
  virtual Result<std::vector<ContainerState>> containers(const std::string& workload_id) = 0;

  // Whether the workload is to be running, from the catalog.
  virtual Result<bool> should_run(const std::string& workload_id) = 0;

  // Whether what runs could be started again without pulling: its containers exist, or the
  // release's image is there locally. A sentence in kRefused's message where not.
  virtual Status can_start(const std::string& workload_id) = 0;

  struct Started {
    std::vector<std::string> container_ids;  // all that run now
    std::vector<std::string> created_ids;    // those of them that this call had to create
  };
  // Starts exactly the given containers; one that is gone is created again from the release's local
  // digest. Nothing is pulled and no tag resolved. Does not wait for health, does not touch restart
  // policies of containers that exist. On failure what was started stays started.
  virtual Result<Started> start(const std::string& workload_id,
                                const std::vector<ContainerState>& containers) = 0;

  // Removes containers that start() created (their rows too). A container that is gone is fine.
  virtual Status remove_created(const std::string& workload_id,
                                const std::vector<std::string>& container_ids) = 0;

  // Waits until the containers are healthy by the workload's own rule, at most health_timeout_s.
  // kUnhealthy with probe and log_tail; kUnavailable where the engine went away; kCancelled.
  virtual Status await_health(const std::string& workload_id,
                              const std::vector<std::string>& container_ids,
                              std::stop_token stop) = 0;
};

}  // namespace cairn::volume
