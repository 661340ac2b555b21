// Workloads: the facade of this floor. Keeps definitions, deploys images, starts, stops and removes
// containers, and gives the volume engines their Lifecycle. docs/ordering.md states its orders.
// Thread-safe. Every call that changes containers takes the workload's and its volumes' locks; long
// calls run on the caller's thread, which is an operation's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "docker/engine.h"
#include "parallel/keyed_lock.h"
#include "volume/lifecycle.h"
#include "volume/resolve.h"
#include "volume/service.h"
#include "workload/config.h"
#include "workload/health.h"

namespace cairn::workload {

struct Parts {
  catalog::Catalog& catalog;
  docker::Engine& engine;
  parallel::LockTable& locks;
  // volume::Service::place_settings; a function since that object is made after this one.
  std::function<Result<volume::PlaceSettings>()> place_settings;
  Pace pace = {};  // tests look more often
};

using volume::OnBusy;

struct DeployOptions {
  std::string tag;     // a tag or "sha256:..."; empty: default_tag, then "latest"
  bool force = false;  // also where nothing changed
  // VOLUMEs of the image that may stay undeclared; kept with the release for later deploys.
  std::vector<std::string> allow_anonymous;
  // Targets whose data may stay behind at the place that the last release mounted.
  std::vector<std::string> fresh_volumes;
  OnBusy on_busy = OnBusy::kRefuse;
};

struct DeployResult {
  bool unchanged = false;  // the release is the one that ran before
  catalog::Release release;
  std::int64_t total_ms = 0;
  std::int64_t hold_ms = 0;  // 0 where the old container served until the new one was healthy
  std::vector<std::string> warnings;
};

// What a release is known by: its digest, or its image id where no registry knows the image.
const std::string& release_identity(const catalog::Release& release);

struct InstanceView {
  std::string container_name;
  std::string container_id;
  std::string release_id;
  std::string state;    // the engine's word; "gone", or "unknown" while the engine is down
  std::string health;   // "", "starting", "healthy", "unhealthy"
  std::string address;  // on Cairn's network, while it runs
  std::int64_t created_ms = 0;
};

// A workload as people see it. Env values are masked in config_json.
struct WorkloadView {
  catalog::Workload row;  // env is empty here
  std::string config_json;
  std::vector<volume::DeclaredVolume> volumes;  // in effect: persisted rows over inline ones
  std::optional<catalog::Release> release;      // current; env is empty here
  std::vector<InstanceView> instances;
  // "running", "stopped", "degraded" (not what is desired), "not_deployed", "deploying",
  // "recovering", "removing", "unknown" (the engine is down)
  std::string state;
  std::string holder;  // who holds the workload's lock: an operation, "recovering", or empty
};

struct VolumeView {
  volume::DeclaredVolume volume;
  bool persisted = false;  // a row of "volume set", else inline
  bool overrides = false;  // the row wins over an inline volume with this target
  std::string place;       // where it is written down to be; empty before the first deploy
  std::string reason;      // why it does not resolve; empty where it does
};

struct RegistryView {
  catalog::Registry row;               // password is empty here
  std::vector<std::string> workloads;  // that name it
};

struct Applied {
  WorkloadView workload;
  bool created = false;
  bool changed = false;
};

struct LogRequest {
  std::optional<std::uint32_t> tail;
  bool follow = false;
  bool timestamps = false;
  std::int64_t since_ms = 0;
};

class Recovery;

class Workloads final : public volume::Lifecycle {
 public:
  explicit Workloads(Parts parts);
  ~Workloads() override;
  Workloads(const Workloads&) = delete;
  Workloads& operator=(const Workloads&) = delete;

  // --- definitions -----------------------------------------------------------------------------
  // Makes the workload or replaces its definition; containers are left alone until a deploy.
  // kInvalid with every fault by field path, also of persisted volumes that no longer fit.
  Result<Applied> apply(std::string_view text, TextFormat format, const std::string& actor);
  // By id or name; kNotFound. Works while the engine is down.
  Result<WorkloadView> show(const std::string& id_or_name);
  Result<std::vector<WorkloadView>> list();

  // Declared volumes in effect, in byte order of target, with their places.
  Result<std::vector<VolumeView>> list_volumes(const std::string& id_or_name);
  // Persists a volume that wins over an inline one with the same target; effective at the next
  // deploy. kInvalid with reasons by field ("scope").
  Status set_volume(const std::string& id_or_name,
                    const volume::DeclaredVolume& volume,
                    const std::string& actor);
  // kNotFound where no row has that target.
  Status unset_volume(const std::string& id_or_name,
                      const std::string& target,
                      const std::string& actor);

  // --- registries ------------------------------------------------------------------------------
  Result<std::vector<RegistryView>> list_registries();
  // Stores a registry with its login, or replaces it: effective at the next pull. kInvalid with
  // every fault by field.
  Result<RegistryView> set_registry(const catalog::Registry& registry);
  // kConflict while a workload names it, kNotFound.
  Status remove_registry(const std::string& name);

  // --- containers ------------------------------------------------------------------------------
  // kRefused with every reason at once (volumes that do not resolve, a missing image); kBusy;
  // kUnhealthy with probe and log_tail. After a failure the old containers run as before; where
  // the engine went away meanwhile, recovery does that when it is back.
  Result<DeployResult> deploy(const std::string& id_or_name,
                              const DeployOptions& options,
                              catalog::OperationContext& context);
  // The workload is stopped, and stays so. Stopping what is stopped is fine.
  Status stop(const std::string& id_or_name, OnBusy on_busy, catalog::OperationContext& context);
  // The current release runs again. kConflict where it was never deployed, kUnhealthy where it does
  // not get healthy (it stays started).
  Status start(const std::string& id_or_name, OnBusy on_busy, catalog::OperationContext& context);
  // Removes the containers and the definition. Volumes' data, snapshots and undos stay.
  Status remove(const std::string& id_or_name,
                OnBusy on_busy,
                const std::string& actor,
                catalog::OperationContext& context);
  // The newest container's output. kConflict where there is no container.
  Status logs(const std::string& id_or_name,
              const LogRequest& request,
              const docker::LogSink& sink,
              std::stop_token stop);

  // --- the daemon's life -----------------------------------------------------------------------
  // Call once, before serving and after volume::Service::recover(), which locks what it still
  // works on. Finishes or takes back what a crash left, brings every workload to its desired
  // state. What has to wait for the engine is locked as "recovering" and tried again by a thread.
  Status recover();
  // Ends the recovery's thread, before what place_settings needs goes away. What still waits is
  // recovered at the next start. Once more does nothing.
  void end_recovery();
  // Workload ids that still wait for recovery.
  [[nodiscard]] std::vector<std::string> recovering() const;
  // Catalog, containers and desired states against each other; empty when all is well. What a
  // running operation holds just now is no finding. The error is for a check that could not be
  // done.
  Result<std::vector<catalog::Finding>> check();

  // --- volume::Lifecycle -----------------------------------------------------------------------
  Result<std::vector<volume::ContainerState>> containers(const std::string& workload_id) override;
  Result<bool> should_run(const std::string& workload_id) override;
  Status can_start(const std::string& workload_id) override;
  Result<Started> start(const std::string& workload_id,
                        const std::vector<volume::ContainerState>& containers) override;
  Status remove_created(const std::string& workload_id,
                        const std::vector<std::string>& container_ids) override;
  Status await_health(const std::string& workload_id,
                      const std::vector<std::string>& container_ids,
                      std::stop_token stop) override;

 private:
  Status start_or_replace(const catalog::Workload& workload,
                          const std::string& name,
                          const catalog::Instance* row,
                          Started& started);
  Status change_desired(const std::string& id_or_name,
                        catalog::Desired desired,
                        OnBusy on_busy,
                        catalog::OperationContext& context);

  Parts parts_;
  std::unique_ptr<Recovery> recovery_;
};

}  // namespace cairn::workload
