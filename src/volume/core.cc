#include "volume/core.h"

#include <nlohmann/json.hpp>

#include "base/strings.h"

namespace cairn::volume {

Result<os::Dir> open_journal_dir(const Core& core) {
  return os::Dir::open(core.data_dir + "/journal");
}

void tell(Core& core,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message) {
  catalog::tell(core.catalog.events(), kind, workload_id, operation_id, message);
}

Result<PlaceSettings> read_place_settings(Core& core) {
  TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
  PlaceSettings out{.data_dir = core.data_dir,
                    .base_volume_path = settings.base_volume_path,
                    .allowed_paths = settings.allowed_volume_paths,
                    .forbidden_paths = {"/var/lib/docker", "/var/lib/containerd"},
                    .engine_socket = core.engine_socket_path,
                    .instance_tag = {},
                    .engine = &core.engine};
  // An engine that is down cannot say where its root is; what it mounts is checked again later.
  if (const auto info = core.engine.info(); info.ok() && !info->docker_root.empty()) {
    out.forbidden_paths.push_back(info->docker_root);
  }
  return out;
}

Result<std::vector<DeclaredVolume>> declared_volumes(Core& core,
                                                     const catalog::Workload& workload) {
  const auto config = nlohmann::json::parse(workload.config_json, nullptr, false);
  if (!config.is_object()) {
    return Error(Code::kCorrupt, "workload " + workload.name + ": its stored config is damaged");
  }
  std::vector<Reason> faults;
  std::vector<DeclaredVolume> inline_volumes;
  if (config.contains("volumes")) {
    inline_volumes = parse_volumes(config["volumes"], "config.volumes", faults);
  }
  if (!faults.empty()) {
    return Error(Code::kCorrupt,
                 "workload " + workload.name + ": " + faults[0].target + " " + faults[0].detail);
  }
  return effective_volumes(core.catalog, workload.id, inline_volumes);
}

Result<std::vector<std::string>> volume_keys(Core& core, const catalog::Workload& workload) {
  TRY_ASSIGN(const std::vector<DeclaredVolume> declared, declared_volumes(core, workload));
  TRY_ASSIGN(const PlaceSettings settings, read_place_settings(core));
  TRY_ASSIGN(const Resolution resolution,
             resolve_volumes(core.catalog, settings, workload.id, declared));
  return lock_keys(workload.id, resolution.volumes);
}

Result<parallel::LockGuard> take_lock(parallel::LockTable& locks,
                                      const std::vector<std::string>& keys,
                                      OnBusy on_busy,
                                      catalog::OperationContext& context) {
  if (on_busy == OnBusy::kRefuse) return locks.try_lock(keys, context.id());
  context.phase("wait");
  return locks.lock(keys, context.id(), context.stop_token());
}

void HoldClock::begin() {
  if (begin_us_ == 0) begin_us_ = monotonic_us();
}

void HoldClock::end() {
  end_us_ = monotonic_us();
}

std::int64_t HoldClock::hold_ms() const {
  return begin_us_ == 0 ? 0 : ((end_us_ == 0 ? monotonic_us() : end_us_) - begin_us_) / 1000;
}

std::int64_t HoldClock::cairn_ms() const {
  const std::int64_t all_us =
      begin_us_ == 0 ? 0 : (end_us_ == 0 ? monotonic_us() : end_us_) - begin_us_;
  return (all_us - outside_us_) / 1000;
}

}  // namespace cairn::volume
