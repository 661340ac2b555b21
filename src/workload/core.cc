#include "workload/core.h"

namespace cairn::workload {

void tell(const Core& core,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message) {
  catalog::tell(core.catalog.events(), kind, workload_id, operation_id, message);
}

Result<std::vector<std::string>> workload_keys(const Core& core, const catalog::Workload& row) {
  TRY_ASSIGN(const ImageConfig config, config_from_json(row.config_json));
  TRY_ASSIGN(const auto declared, volume::effective_volumes(core.catalog, row.id, config.volumes));
  TRY_ASSIGN(const volume::PlaceSettings settings, core.place_settings());
  TRY_ASSIGN(volume::Resolution resolution,
             volume::resolve_volumes(core.catalog, settings, row.id, declared));
  // A release may mount a place that the config does not name any more.
  TRY_ASSIGN(const auto current, core.catalog.releases().current(row.id));
  if (current.has_value()) {
    for (const catalog::ReleaseMount& mount : current->mounts) {
      const auto slash = mount.place.rfind('/');
      volume::ResolvedVolume place;
      place.target = mount.target;
      if (mount.kind == catalog::PlaceKind::kVolume) {
        place.kind = volume::ResolvedVolume::Kind::kVolume;
        place.name = mount.place;
        resolution.volumes.push_back(std::move(place));
        continue;
      }
      if (mount.kind != catalog::PlaceKind::kBind || slash == std::string::npos) continue;
      place.base = slash == 0 ? "/" : mount.place.substr(0, slash);
      place.relative = mount.place.substr(slash + 1);
      resolution.volumes.push_back(std::move(place));
    }
  }
  return volume::lock_keys(row.id, resolution.volumes);
}

Result<catalog::Workload> get_living(const Core& core, const std::string& id_or_name) {
  TRY_ASSIGN(catalog::Workload row, core.catalog.workloads().get(id_or_name));
  if (row.desired == catalog::Desired::kRemoved) {
    return Error(Code::kConflict, "workload " + row.name + " is being removed");
  }
  return row;
}

}  // namespace cairn::workload
