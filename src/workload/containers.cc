#include "workload/containers.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "os/socket.h"
#include "workload/image_name.h"

namespace cairn::workload {
namespace {

// A removal that the engine already works on is waited for.
constexpr int kGonePollMs = 100;
constexpr std::int64_t kGoneTimeoutMs = 10'000;
constexpr std::int64_t kMib = std::int64_t{1} << 20U;
constexpr double kNanoCpus = 1e9;

docker::Mount::Kind mount_kind(catalog::PlaceKind kind) {
  switch (kind) {
    case catalog::PlaceKind::kBind:
      return docker::Mount::Kind::kBind;
    case catalog::PlaceKind::kVolume:
      return docker::Mount::Kind::kVolume;
    case catalog::PlaceKind::kTmpfs:
      return docker::Mount::Kind::kTmpfs;
  }
  return docker::Mount::Kind::kBind;
}

std::string_view label(const docker::Labels& labels, std::string_view key) {
  const auto found = labels.find(std::string(key));
  return found == labels.end() ? std::string_view() : std::string_view(found->second);
}

// What create is asked for. The digest reads better in "docker ps"; the id is always right.
Result<std::string> local_image(const Core& core, const catalog::Release& release) {
  if (!release.digest.empty()) {
    const std::string by_digest = join_reference(release.image, release.digest);
    TRY_ASSIGN(const auto image, core.engine.find_image(by_digest));
    if (image.has_value() && image->id == release.image_id) return by_digest;
  }
  TRY_ASSIGN(const auto image, core.engine.find_image(release.image_id));
  if (image.has_value()) return release.image_id;
  return Error(Code::kNotFound,
               fmt::format("image {} of release {} is not on this machine any more",
                           join_reference(release.image, release.tag), release.id));
}

Status await_gone(const Core& core, const std::string& container_id) {
  TRY_ASSIGN(const os::Patience patience, os::Patience::until(os::kNoDeadline));
  const std::int64_t give_up_ms = monotonic_ms() + kGoneTimeoutMs;
  while (true) {
    TRY_ASSIGN(const auto container, core.engine.find_container(container_id));
    if (!container.has_value()) return {};
    if (monotonic_ms() >= give_up_ms) {
      return Error(Code::kConflict, "container " + container->name + " does not go away");
    }
    TRY(patience.nap(kGonePollMs));
  }
}

}  // namespace

std::string container_name(const catalog::Workload& workload,
                           std::string_view tag,
                           std::int64_t at_ms) {
  return fmt::format("cairn-{}-{}-{}-{:x}", workload.name, ids::short_form(workload.id),
                     tag_for_name(tag), at_ms);
}

docker::ContainerSpec container_spec(const catalog::Workload& workload,
                                     const catalog::Release& release,
                                     const ReleaseConfig& config,
                                     const std::string& image,
                                     const std::string& name,
                                     const std::set<std::string>& held_volumes) {
  const ImageConfig& wanted = config.config;
  docker::ContainerSpec spec;
  spec.name = name;
  spec.image = image;
  spec.command = wanted.command;
  spec.entrypoint = wanted.entrypoint;
  for (const auto& [key, value] : release.env) spec.env.push_back(key + "=" + value);
  spec.labels = {
      {std::string(kLabelWorkloadId), workload.id},
      {std::string(kLabelWorkloadName), workload.name},
      {std::string(kLabelKind), workload.kind},
      {std::string(kLabelRole), std::string(catalog::name_of(catalog::InstanceRole::kInstance))},
      {std::string(kLabelRelease), release.id},
      {std::string(kLabelInstance), name}};
  spec.user = wanted.user;
  for (const catalog::ReleaseMount& mount : release.mounts) {
    spec.mounts.push_back({.kind = mount_kind(mount.kind),
                           .source = mount.place,
                           .target = mount.target,
                           .read_only = false,
                           .no_copy = held_volumes.contains(mount.place)});
  }
  for (const Publish& publish : wanted.publish) {
    spec.publishes.push_back({.host_ip = publish.host_ip,
                              .host_port = publish.host_port,
                              .container_port = publish.container_port,
                              .protocol = publish.protocol});
  }
  spec.network = config.network;
  spec.aliases = {workload.name};
  spec.nano_cpus = static_cast<std::int64_t>(wanted.cpu_limit * kNanoCpus);
  spec.memory_bytes = wanted.memory_limit * kMib;
  spec.shm_bytes = wanted.shm_size * kMib;
  spec.stop_signal = wanted.stop_signal;
  spec.stop_timeout_s = wanted.stop_timeout;
  spec.restart_policy = kRestartPolicy;
  return spec;
}

bool is_owned(const docker::Container& container, const catalog::Instance& row) {
  return label(container.labels, kLabelWorkloadId) == row.workload_id &&
         label(container.labels, kLabelInstance) == row.container_name;
}

Result<std::optional<docker::Container>> find_owned(const Core& core,
                                                    const catalog::Instance& row) {
  std::optional<docker::Container> found;
  if (!row.container_id.empty()) {
    TRY_ASSIGN(found, core.engine.find_container(row.container_id));
  }
  if (!found.has_value()) {
    TRY_ASSIGN(found, core.engine.find_container(row.container_name));
  }
  if (found.has_value() && !is_owned(*found, row)) {
    return Error(Code::kConflict,
                 "container " + found->name + " is not Cairn's by its labels: it is left alone");
  }
  return found;
}

Result<catalog::Instance> plan_instance(const Core& core,
                                        const catalog::Workload& workload,
                                        const catalog::Release& release,
                                        const ReleaseConfig& config) {
  catalog::Instance row;
  row.workload_id = workload.id;
  row.release_id = release.id;
  row.port = config.config.port;
  for (std::int64_t at_ms = wall_ms();; ++at_ms) {
    row.container_name = container_name(workload, release.tag, at_ms);
    TRY_ASSIGN(const auto taken, core.catalog.instances().find(row.container_name));
    if (!taken.has_value()) return row;
  }
}

Status create_owned(const Core& core,
                    const catalog::Workload& workload,
                    const catalog::Release& release,
                    const ReleaseConfig& config,
                    catalog::Instance& row) {
  TRY_ASSIGN(const std::string image, local_image(core, release));
  if (!config.network.empty()) TRY(core.engine.ensure_network(config.network));
  TRY_ASSIGN(const std::vector<catalog::Place> places, core.catalog.places().list(workload.id));
  std::set<std::string> held;
  for (const catalog::Place& place : places) {
    if (place.held && place.kind == catalog::PlaceKind::kVolume) held.insert(place.path_or_name);
  }
  TRY_ASSIGN(row.container_id, core.engine.create_container(container_spec(
                                   workload, release, config, image, row.container_name, held)));
  return core.catalog.instances().update(row);
}

Status stop_owned(const Core& core, const docker::Container& container, int stop_grace_s) {
  if (container.paused) {
    // A frozen process cannot take its stop signal. It may run again already: a conflict then.
    const Status thawed = core.engine.unpause(container.id);
    if (!thawed.ok() && thawed.error().code() == Code::kUnavailable) return thawed;
  }
  const Status stopped =
      core.engine.stop(container.id, container.stop_timeout_s.value_or(stop_grace_s));
  if (!stopped.ok() && stopped.error().code() != Code::kNotFound) {
    return stopped.error().with_context("stop " + container.name);
  }
  return {};
}

Status remove_container(const Core& core, const catalog::Instance& row, Ending ending) {
  const auto found = find_owned(core, row);
  if (!found.ok()) {
    if (found.error().code() != Code::kConflict) return found.error();
    log::warn("{}", found.error().message());
    return {};
  }
  if (!found->has_value()) return {};
  const docker::Container& container = found->value();
  if (ending == Ending::kGraceful && is_up(container)) {
    TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
    TRY(stop_owned(core, container, static_cast<int>(settings.stop_grace_s)));
  }
  // Unnamed volumes of a container that served may hold the only copy of something.
  const Status removed = core.engine.remove(
      container.id, {.force = true, .anonymous_volumes = ending == Ending::kAtOnce});
  if (!removed.ok() && removed.error().code() != Code::kNotFound &&
      removed.error().code() != Code::kConflict) {
    return removed.error().with_context("remove " + container.name);
  }
  return await_gone(core, container.id);
}

Status remove_owned(const Core& core, const catalog::Instance& row, Ending ending) {
  TRY(remove_container(core, row, ending));
  return core.catalog.instances().remove(row.container_name);
}

bool is_up(const docker::Container& container) {
  return container.running || container.restarting || container.paused;
}

}  // namespace cairn::workload
