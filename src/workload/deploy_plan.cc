#include "workload/deploy_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"
#include "base/strings.h"
#include "os/dir.h"
#include "volume/named.h"
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
    case volume::ResolvedVolume::Kind::kVolume:
      mount.kind = catalog::PlaceKind::kVolume;
      mount.place = volume.name;
      break;
    case volume::ResolvedVolume::Kind::kTmpfs:
      mount.kind = catalog::PlaceKind::kTmpfs;
      break;
  }
  return mount;
}

// Whether a directory holds anything; one that is not there holds nothing, one that cannot be
// looked at may.
bool may_hold_data(const std::string& path) {
  const auto dir = os::Dir::open(path);
  if (!dir.ok()) return dir.error().code() != Code::kNotFound;
  const auto entries = dir->list();
  return !entries.ok() || !entries->empty();
}

bool may_hold_data(const Core& core, const catalog::ReleaseMount& mount) {
  if (mount.kind == catalog::PlaceKind::kBind) return may_hold_data(mount.place);
  volume::ResolvedVolume place;
  place.name = mount.place;
  if (!volume::locate_volume(core.engine, place).ok() || place.obstacle) return true;
  return !place.path().empty() && may_hold_data(place.path());
}

// A changed source, name or base must not make the workload begin without its data unnoticed.
void refuse_lost_data(const Core& core,
                      const catalog::Release& current,
                      const std::vector<volume::ResolvedVolume>& resolved,
                      const std::vector<std::string>& fresh,
                      std::vector<Reason>& reasons) {
  const std::string_view instance = volume::scope_name(volume::Scope::kInstance);
  for (const volume::ResolvedVolume& volume : resolved) {
    const auto before = std::find_if(current.mounts.begin(), current.mounts.end(),
                                     [&](const auto& one) { return one.target == volume.target; });
    if (before == current.mounts.end() || before->kind == catalog::PlaceKind::kTmpfs ||
        before->scope == instance || volume.scope == volume::Scope::kInstance ||
        volume.kind == volume::ResolvedVolume::Kind::kTmpfs || before->place == volume.place() ||
        volume.obstacle || std::find(fresh.begin(), fresh.end(), volume.target) != fresh.end()) {
      continue;
    }
    if ((!volume.path().empty() && may_hold_data(volume.path())) || !may_hold_data(core, *before)) {
      continue;
    }
    reasons.push_back({volume.target, "fresh_volume",
                       fmt::format("the running release has its data at {}, and {} is empty: move "
                                   "the data there, or begin without it by --fresh-volume {}",
                                   printable(before->place), printable(volume.place()),
                                   printable(volume.target))});
  }
}

// VOLUMEs of the image that the config does not declare, in order.
std::vector<std::string> undeclared_volumes(const DeployPlan& plan, const docker::Image& image) {
  std::vector<std::string> undeclared;
  for (std::string target : image.volumes) {
    while (target.size() > 1 && target.back() == '/') target.pop_back();
    const bool declared =
        std::any_of(plan.declared.begin(), plan.declared.end(),
                    [&target](const auto& volume) { return volume.target == target; });
    if (!declared) undeclared.push_back(std::move(target));
  }
  return undeclared;
}

// The last part of a path, as a source that a declaration may have.
std::string source_for(const std::string& target) {
  return target.substr(target.rfind('/') + 1);
}

}  // namespace

Result<DeployPlan> plan_deploy(const Core& core,
                               const std::string& id_or_name,
                               const DeployOptions& options) {
  DeployPlan plan;
  TRY_ASSIGN(plan.workload, get_living(core, id_or_name));
  const std::string& id = plan.workload.id;
  TRY_ASSIGN(plan.config, config_from_json(plan.workload.config_json));
  const auto registry = use_registry(core, plan.config);
  TRY_ASSIGN(plan.settings, core.catalog.settings().all());
  TRY_ASSIGN(plan.declared, volume::effective_volumes(core.catalog, id, plan.config.volumes));
  TRY_ASSIGN(volume::PlaceSettings places, core.place_settings());
  TRY_ASSIGN(places.instance_tag, tag_of(plan.config, options.tag));
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
  TRY_ASSIGN(const auto current, core.catalog.releases().current(id));
  plan.allow_anonymous = options.allow_anonymous;
  if (current.has_value()) {
    refuse_lost_data(core, *current, resolution.volumes, options.fresh_volumes, reasons);
    TRY_ASSIGN(const ReleaseConfig before, release_config_from_json(current->config_json));
    plan.allow_anonymous.insert(plan.allow_anonymous.end(), before.allow_anonymous.begin(),
                                before.allow_anonymous.end());
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
  std::vector<Reason> reasons;
  for (const std::string& target : undeclared_volumes(plan, fetched.image)) {
    const auto& allowed = plan.allow_anonymous;
    if (std::find(allowed.begin(), allowed.end(), target) != allowed.end()) {
      config.allow_anonymous.push_back(target);
      continue;
    }
    reasons.push_back(
        {target, "undeclared_volume",
         fmt::format("the image declares this VOLUME and the config has no volume there, so its "
                     "data would be in an anonymous volume: add {{\"target\":\"{0}\",\"scope\":"
                     "\"project\",\"source\":\"{1}\"}} to config.volumes, or deploy with "
                     "--allow-anonymous {0}",
                     printable(target), printable(source_for(target)))});
  }
  if (!reasons.empty()) return refused(plan.workload.name, std::move(reasons));

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
