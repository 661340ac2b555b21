#include "volume/capture_plan.h"

#include <algorithm>

#include "base/check.h"
#include "volume/exchange.h"

namespace cairn::volume {

namespace {

catalog::SkippedVolume skipped(const DeclaredVolume& volume, std::string code, std::string reason) {
  return {volume.target, std::string(scope_name(volume.scope)), std::move(code), std::move(reason)};
}

// Why a volume that resolved cannot be read, or its open root.
Result<std::optional<CaptureRoot>> open_root(const ResolvedVolume& volume) {
  auto place = open_place(volume);
  if (!place.ok()) {
    if (place.error().code() == Code::kNotFound) return std::optional<CaptureRoot>();
    return place.error();
  }
  TRY_ASSIGN(const std::optional<os::Stat> root, place->parent.find(place->name));
  if (!root) return std::optional<CaptureRoot>();
  TRY_ASSIGN(os::Dir dir, place->parent.open_dir(place->name));
  TRY_ASSIGN(const StagingHome home, staging_home(*place));
  return std::optional(CaptureRoot{0, volume, std::move(dir), home.is_root});
}

// What the image declares as VOLUME and the workload does not: anonymous volumes, never captured.
Status add_undeclared(Core& core,
                      const catalog::Workload& workload,
                      const std::vector<DeclaredVolume>& declared,
                      CapturePlan& plan) {
  TRY_ASSIGN(const std::optional<catalog::Release> release,
             core.catalog.releases().current(workload.id));
  if (!release) return {};
  const auto image = core.engine.find_image(release->image_id);
  if (!image.ok() || !image->has_value()) return {};
  for (const std::string& target : (*image)->volumes) {
    if (std::ranges::find(declared, target, &DeclaredVolume::target) != declared.end()) continue;
    plan.skipped.push_back({target, "", "undeclared",
                            "the image declares this VOLUME and the workload's config does not, "
                            "so its data is in an anonymous volume"});
  }
  return {};
}

}  // namespace

Result<CapturePlan> plan_capture(Core& core, const catalog::Workload& workload) {
  CapturePlan plan;
  TRY_ASSIGN(const std::vector<DeclaredVolume> declared, declared_volumes(core, workload));
  TRY_ASSIGN(const PlaceSettings settings, read_place_settings(core));
  TRY_ASSIGN(const Resolution resolution,
             resolve_volumes(core.catalog, settings, workload.id, declared));
  int index = 0;
  for (const DeclaredVolume& one : declared) {
    const auto reason = std::ranges::find(resolution.reasons, one.target, &Reason::target);
    if (one.scope == Scope::kEphemeral) {
      plan.skipped.push_back(
          skipped(one, "ephemeral", "an ephemeral volume holds no data to capture"));
      continue;
    }
    if (reason != resolution.reasons.end()) {
      plan.skipped.push_back(skipped(one, "unresolved", reason->detail));
      continue;
    }
    const auto volume = std::ranges::find(resolution.volumes, one.target, &ResolvedVolume::target);
    CHECK(volume != resolution.volumes.end());
    auto root = open_root(*volume);
    if (!root.ok()) {
      plan.skipped.push_back(skipped(one, skip_code(root.error()), root.error().message()));
    } else if (!root->has_value()) {
      plan.skipped.push_back(skipped(one, "no_data", "there is no data on disk yet"));
    } else {
      plan.roots.push_back(std::move(**root));
      plan.roots.back().index = index++;
    }
  }
  TRY(add_undeclared(core, workload, declared, plan));
  return plan;
}

}  // namespace cairn::volume
