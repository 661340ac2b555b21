#include "workload/view.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "workload/containers.h"
#include "workload/recovery.h"
#include "workload/release_config.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

using catalog::Desired;

constexpr std::string_view kGone = "gone";
constexpr std::string_view kUnknown = "unknown";

// Fills in what the engine says of one instance; the rest of the view is there.
using Describe = std::function<void(const catalog::Instance& row, InstanceView& view)>;

std::string state_of(const Core& core, const WorkloadView& view, const catalog::Workload& row) {
  if (view.holder == parallel::kRecovering) return std::string(parallel::kRecovering);
  if (row.desired == Desired::kRemoved) return "removing";
  const auto releases = core.catalog.releases().list(row.id);
  const bool deploying =
      releases.ok() && std::any_of(releases->begin(), releases->end(), [](const auto& release) {
        return release.state == catalog::ReleaseState::kDeploying;
      });
  if (deploying) return "deploying";
  if (!view.release.has_value() && view.instances.empty()) return "not_deployed";
  const auto in_state = [&view](std::string_view state) {
    return std::count_if(view.instances.begin(), view.instances.end(),
                         [state](const auto& one) { return one.state == state; });
  };
  if (in_state(kUnknown) > 0) return std::string(kUnknown);
  const auto running = in_state("running");
  if (row.desired == Desired::kStopped) {
    return running + in_state("restarting") + in_state("paused") == 0 ? "stopped" : "degraded";
  }
  const bool all = running > 0 && running == std::ssize(view.instances);
  return all ? "running" : "degraded";
}

Result<WorkloadView> view_of(const Core& core, catalog::Workload row, const Describe& describe) {
  WorkloadView view;
  TRY_ASSIGN(ImageConfig config, config_from_json(row.config_json));
  config.env = row.env;
  view.config_json = show_config(config).dump();
  TRY_ASSIGN(view.volumes, volume::effective_volumes(core.catalog, row.id, config.volumes));
  TRY_ASSIGN(view.release, core.catalog.releases().current(row.id));
  if (view.release.has_value()) view.release->env.clear();
  TRY_ASSIGN(const auto rows, serving_rows(core, row.id));
  for (const catalog::Instance& instance : rows) {
    InstanceView one;
    one.container_name = instance.container_name;
    one.container_id = instance.container_id;
    one.release_id = instance.release_id;
    one.created_ms = instance.created_ms;
    describe(instance, one);
    view.instances.push_back(std::move(one));
  }
  view.holder = core.locks.holder("workload:" + row.id);
  view.state = state_of(core, view, row);
  row.env.clear();
  view.row = std::move(row);
  return view;
}

void describe_fully(const Core& core, const catalog::Instance& row, InstanceView& view) {
  const auto found = find_owned(core, row);
  if (!found.ok()) {
    view.state = found.error().code() == Code::kUnavailable ? kUnknown : kGone;
    return;
  }
  if (!found->has_value()) {
    view.state = kGone;
    return;
  }
  const docker::Container& container = **found;
  view.container_id = container.id;
  view.state = docker::state_name(container.state);
  view.health = docker::health_name(container.health);
  if (container.health == docker::Health::kNone) view.health.clear();
  if (!container.ip_addresses.empty()) view.address = container.ip_addresses.begin()->second;
}

}  // namespace

Result<WorkloadView> view_workload(const Core& core, const std::string& id_or_name) {
  TRY_ASSIGN(catalog::Workload row, core.catalog.workloads().get(id_or_name));
  return view_of(core, std::move(row),
                 [&core](const catalog::Instance& instance, InstanceView& one) {
                   describe_fully(core, instance, one);
                 });
}

Result<std::vector<WorkloadView>> view_workloads(const Core& core) {
  TRY_ASSIGN(std::vector<catalog::Workload> rows, core.catalog.workloads().list());
  docker::ContainerFilter filter;
  filter.labels = {std::string(kLabelWorkloadId)};
  const auto containers = core.engine.list_containers(filter);
  const auto describe = [&containers](const catalog::Instance& row, InstanceView& view) {
    view.state = containers.ok() ? kGone : kUnknown;
    if (!containers.ok()) return;
    for (const docker::ContainerSummary& one : *containers) {
      if (one.name == row.container_name) view.state = docker::state_name(one.state);
    }
  };
  std::vector<WorkloadView> views;
  for (catalog::Workload& row : rows) {
    TRY_ASSIGN(WorkloadView view, view_of(core, std::move(row), describe));
    views.push_back(std::move(view));
  }
  return views;
}

Result<std::vector<VolumeView>> view_volumes(const Core& core, const std::string& id_or_name) {
  TRY_ASSIGN(const catalog::Workload row, core.catalog.workloads().get(id_or_name));
  TRY_ASSIGN(const ImageConfig config, config_from_json(row.config_json));
  TRY_ASSIGN(const auto declared, volume::effective_volumes(core.catalog, row.id, config.volumes));
  TRY_ASSIGN(const auto persisted, core.catalog.volumes().list(row.id));
  TRY_ASSIGN(const volume::PlaceSettings settings, core.place_settings());
  TRY_ASSIGN(const volume::Resolution resolution,
             volume::resolve_volumes(core.catalog, settings, row.id, declared));
  std::vector<VolumeView> views;
  for (const volume::DeclaredVolume& volume : declared) {
    VolumeView view;
    view.volume = volume;
    const auto same_target = [&volume](const auto& other) { return other.target == volume.target; };
    view.persisted = std::any_of(persisted.begin(), persisted.end(), same_target);
    view.overrides =
        view.persisted && std::any_of(config.volumes.begin(), config.volumes.end(), same_target);
    const auto reason =
        std::find_if(resolution.reasons.begin(), resolution.reasons.end(), same_target);
    if (reason != resolution.reasons.end()) view.reason = reason->detail;
    const auto resolved =
        std::find_if(resolution.volumes.begin(), resolution.volumes.end(), same_target);
    if (resolved != resolution.volumes.end()) {
      if (resolved->obstacle) view.reason = resolved->obstacle->detail;
      TRY_ASSIGN(const auto place,
                 core.catalog.places().find(row.id, volume::key_of_place(row.id, *resolved)));
      if (place.has_value()) view.place = place->path_or_name;
    }
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace cairn::workload
