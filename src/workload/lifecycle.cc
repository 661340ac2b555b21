// Workloads as the volume engines see it (volume/lifecycle.h). The caller holds the workload's
// lock.
#include <algorithm>

#include "docker/engine.h"
#include "workload/containers.h"
#include "workload/recovery.h"
#include "workload/service.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

using catalog::Instance;

// Nothing of a deploy or removal that was cut off may be taken for the workload's containers. The
// lock is the caller's, so what is unfinished was cut off.
Status refuse_unfinished(const Core& core, const catalog::Workload& row) {
  TRY_ASSIGN(const bool unfinished, is_unfinished(core, row));
  if (!unfinished) return {};
  const auto finished = finish_unfinished(core, row.id);
  if (finished.ok() && !finished->removed) return {};
  ErrorDetail detail;
  detail.holder = parallel::kRecovering;
  std::string message = "workload " + row.name + " is recovering";
  if (!finished.ok()) message += ": " + finished.error().message();
  return Error(Code::kBusy, std::move(message), std::move(detail));
}

Result<catalog::Release> release_of(const Core& core,
                                    const std::string& workload_id,
                                    const Instance* row) {
  if (row != nullptr) {
    TRY_ASSIGN(auto release, core.catalog.releases().find(row->release_id));
    if (release.has_value()) return std::move(*release);
  }
  TRY_ASSIGN(auto current, core.catalog.releases().current(workload_id));
  if (current.has_value()) return std::move(*current);
  return Error(Code::kConflict, "workload " + workload_id + " was never deployed");
}

}  // namespace

Result<std::vector<volume::ContainerState>> Workloads::containers(const std::string& workload_id) {
  TRY_ASSIGN(const catalog::Workload workload, parts_.catalog.workloads().get(workload_id));
  TRY(refuse_unfinished(parts_, workload));
  TRY_ASSIGN(const catalog::Settings settings, parts_.catalog.settings().all());
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload_id));
  std::vector<volume::ContainerState> states;
  for (const Instance& row : rows) {
    TRY_ASSIGN(const auto container, find_owned(parts_, row));
    volume::ContainerState state;
    state.id = row.container_id;
    state.name = row.container_name;
    state.restart_policy = kRestartPolicy;
    state.stop_grace_s = static_cast<int>(settings.stop_grace_s);
    if (container.has_value()) {
      state.id = container->id;
      state.running = container->running || container->restarting;
      state.paused = container->paused;
      state.restart_policy = container->restart_policy;
      state.restart_retries_max = container->restart_retries_max;
      state.stop_grace_s = container->stop_timeout_s.value_or(state.stop_grace_s);
    }
    states.push_back(std::move(state));
  }
  return states;
}

Result<bool> Workloads::should_run(const std::string& workload_id) {
  TRY_ASSIGN(const catalog::Workload workload, parts_.catalog.workloads().get(workload_id));
  return workload.desired == catalog::Desired::kRunning;
}

Status Workloads::can_start(const std::string& workload_id) {
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload_id));
  for (const Instance& row : rows) {
    TRY_ASSIGN(const auto container, find_owned(parts_, row));
    if (container.has_value()) continue;
    TRY_ASSIGN(const catalog::Release release, release_of(parts_, workload_id, &row));
    TRY_ASSIGN(const auto image, parts_.engine.find_image(release.image_id));
    if (image.has_value()) continue;
    return Error(Code::kRefused,
                 "container " + row.container_name + " is gone and image " + release.image_id +
                     " of its release is not on this machine: it could not be started again");
  }
  return {};
}

Result<volume::Lifecycle::Started> Workloads::start(
    const std::string& workload_id, const std::vector<volume::ContainerState>& containers) {
  TRY_ASSIGN(const catalog::Workload workload, parts_.catalog.workloads().get(workload_id));
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload_id));
  // Made in place of one of `containers` by an attempt that was cut off.
  std::vector<const Instance*> spare;
  for (const Instance& row : rows) {
    const bool wanted = std::ranges::any_of(containers, [&row](const volume::ContainerState& one) {
      return one.name == row.container_name;
    });
    if (!wanted) spare.push_back(&row);
  }
  Started started;
  for (const volume::ContainerState& wanted : containers) {
    const auto named = std::find_if(rows.begin(), rows.end(), [&wanted](const Instance& candidate) {
      return candidate.container_name == wanted.name;
    });
    const Instance* row = named == rows.end() ? nullptr : &*named;
    if (row == nullptr && !spare.empty()) {
      row = spare.back();
      spare.pop_back();
    }
    TRY(start_or_replace(workload, wanted.name, row, started));
  }
  return started;
}

// row: of the container; null where it has none any more.
Status Workloads::start_or_replace(const catalog::Workload& workload,
                                   const std::string& name,
                                   const Instance* row,
                                   Started& started) {
  std::optional<docker::Container> found;
  if (row != nullptr) {
    TRY_ASSIGN(found, find_owned(parts_, *row));
  }
  std::string id;
  if (found.has_value()) {
    id = found->id;
  } else {
    TRY_ASSIGN(const catalog::Release release, release_of(parts_, workload.id, row));
    TRY_ASSIGN(const Instance made, recreate(parts_, workload, release, row));
    id = made.container_id;
    started.created_ids.push_back(id);
  }
  Status begun = parts_.engine.start(id);
  if (!begun.ok() && found.has_value() && docker::can_never_start(begun.error())) {
    TRY_ASSIGN(const Instance made, remake(parts_, workload, *row));
    id = made.container_id;
    started.created_ids.push_back(id);
    begun = parts_.engine.start(id);
  }
  if (!begun.ok()) return begun.error().with_context("start " + name);
  started.container_ids.push_back(id);
  return {};
}

Status Workloads::remove_created(const std::string& workload_id,
                                 const std::vector<std::string>& container_ids) {
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload_id));
  for (const Instance& row : rows) {
    const bool created = std::find(container_ids.begin(), container_ids.end(), row.container_id) !=
                         container_ids.end();
    if (created) TRY(remove_owned(parts_, row, Ending::kAtOnce));
  }
  return {};
}

Status Workloads::await_health(const std::string& workload_id,
                               const std::vector<std::string>& container_ids,
                               std::stop_token stop) {
  TRY_ASSIGN(const catalog::Settings settings, parts_.catalog.settings().all());
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload_id));
  for (const std::string& id : container_ids) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&id](const Instance& candidate) {
      return candidate.container_id == id;
    });
    TRY_ASSIGN(const catalog::Release release,
               release_of(parts_, workload_id, row == rows.end() ? nullptr : &*row));
    TRY_ASSIGN(const ReleaseConfig config, release_config_from_json(release.config_json));
    TRY(await_healthy(parts_.engine, id,
                      health_rule(config.config, config.image_has_healthcheck, config.network),
                      parts_.pace, settings.health_timeout_s * 1000, stop));
  }
  return {};
}

}  // namespace cairn::workload
