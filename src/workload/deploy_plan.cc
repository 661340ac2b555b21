#include "workload/deploy_plan.h"

#include <fmt/format.h>

#include "base/ids.h"
#include "workload/registry.h"

namespace cairn::workload {
namespace {

Error refused(const std::string& name, std::vector<Reason> reasons) {
  std::string message = fmt::format("deploy {} refused: ", name);
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    message += fmt::format("{}{}: {}", i == 0 ? "" : "; ", reasons[i].target, reasons[i].detail);
  }
  ErrorDetail detail;
  detail.reasons = std::move(reasons);
  return {Code::kRefused, std::move(message), std::move(detail)};
}

catalog::ReleaseMount mount_of(const volume::ResolvedVolume& volume) {
  catalog::ReleaseMount mount;
  mount.target = volume.target;
  mount.scope = volume::scope_name(volume.scope);
  switch (volume.kind) {
    case volume::ResolvedVolume::Kind::kBind:
      mount.kind = catalog::PlaceKind::kBind;
      mount.place = volume.path();
      break;
    case volume::ResolvedVolume::Kind::kTmpfs:
      mount.kind = catalog::PlaceKind::kTmpfs;
      break;
  }
  return mount;
}

}  // namespace

Result<DeployPlan> plan_deploy(const Core& core, const std::string& id_or_name) {
  DeployPlan plan;
  TRY_ASSIGN(plan.workload, get_living(core, id_or_name));
  const std::string& id = plan.workload.id;
  TRY_ASSIGN(plan.config, config_from_json(plan.workload.config_json));
  const auto registry = use_registry(core, plan.config);
  TRY_ASSIGN(plan.settings, core.catalog.settings().all());
  TRY_ASSIGN(plan.declared, volume::effective_volumes(core.catalog, id, plan.config.volumes));
  TRY_ASSIGN(const volume::PlaceSettings places, core.place_settings());
  TRY_ASSIGN(volume::Resolution resolution,
             volume::resolve_volumes(core.catalog, places, id, plan.declared));
  std::vector<Reason> reasons = std::move(resolution.reasons);
  if (registry.ok()) {
    plan.registry = *registry;
  } else if (registry.error().code() == Code::kInvalid) {
    const auto& more = registry.error().detail().reasons;
    reasons.insert(reasons.end(), more.begin(), more.end());
  } else {
    return registry.error();
  }
  if (auto reason = check_handover(plan.config, plan.declared)) {
    reasons.push_back(std::move(*reason));
  }
  if (!reasons.empty()) return refused(plan.workload.name, std::move(reasons));
  plan.resolved = std::move(resolution.volumes);
  plan.handover = effective_handover(plan.config, plan.declared);
  TRY_ASSIGN(plan.keys, workload_keys(core, plan.workload));
  return plan;
}

Result<catalog::Release> plan_release(const DeployPlan& plan, const FetchedImage& fetched) {
  if (health_kind(plan.config) == HealthKind::kImage && !fetched.image.has_healthcheck) {
    return refused(plan.workload.name,
                   {{"config.healthcheck", "no_healthcheck", "the image has no HEALTHCHECK"}});
  }
  ReleaseConfig config;
  config.config = plan.config;
  config.config.env.clear();
  config.config.volumes.clear();
  if (!config.config.stop_timeout.has_value()) {
    config.config.stop_timeout = static_cast<int>(plan.settings.stop_grace_s);
  }
  config.image_has_healthcheck = fetched.image.has_healthcheck;
  config.network = plan.settings.network;

  catalog::Release release;
  release.id = ids::make(ids::kRelease);
  release.workload_id = plan.workload.id;
  release.image = plan.config.image;
  release.image_id = fetched.image.id;
  release.digest = fetched.digest;
  release.tag = fetched.tag;
  release.config_json = release_config_to_json(config);
  release.env = plan.workload.env;
  release.env_version = plan.workload.env_version;
  release.config_version = plan.workload.config_version;
  release.data_generation = plan.workload.data_generation;
  release.volumes_json = volumes_to_json(plan.declared);
  release.faces_json = plan.workload.faces_json;
  for (const auto& volume : plan.resolved) release.mounts.push_back(mount_of(volume));
  return release;
}

bool is_same_release(const catalog::Release& planned, const catalog::Release& current) {
  const bool same_image = planned.image_id == current.image_id ||
                          (!planned.digest.empty() && planned.digest == current.digest);
  return same_image && planned.image == current.image &&
         planned.config_json == current.config_json && planned.env == current.env &&
         planned.volumes_json == current.volumes_json && planned.mounts == current.mounts &&
         planned.faces_json == current.faces_json;
}

}  // namespace cairn::workload
