#include "workload/settle.h"

#include <algorithm>

#include "os/fault.h"
#include "workload/containers.h"

namespace cairn::workload {
namespace {

using catalog::Desired;
using catalog::Instance;
using catalog::InstanceRole;
using catalog::InstanceState;
using catalog::Release;
using catalog::ReleaseState;

Result<std::vector<Release>> deploying(const Core& core, const std::string& workload_id) {
  TRY_ASSIGN(std::vector<Release> releases, core.catalog.releases().list(workload_id));
  std::erase_if(releases,
                [](const Release& release) { return release.state != ReleaseState::kDeploying; });
  return releases;
}

Result<Settled> finish_removal(const Core& core, const catalog::Workload& workload) {
  Settled settled;
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  for (const Instance& row : rows) {
    TRY(remove_owned(core, row, Ending::kGraceful));
    settled.done.push_back("container " + row.container_name + " removed");
  }
  TRY(core.catalog.workloads().remove(workload.id));
  settled.done.push_back("workload " + workload.name + " removed");
  settled.removed = true;
  return settled;
}

// Puts back the restart policies that a stop-first deploy had set to "no". The containers are up
// again by now, so a policy cannot start one that is to stay down.
Status put_back_policies(const Core& core,
                         const std::vector<TakenOver>& taken,
                         const std::vector<Instance>& rows) {
  if (os::seeded(os::Bug::kPolicyLeftNo)) return {};
  for (const TakenOver& one : taken) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&one](const Instance& candidate) {
      return candidate.container_name == one.container_name;
    });
    if (row == rows.end()) continue;
    TRY_ASSIGN(const auto container, find_owned(core, *row));
    if (!container.has_value() || container->restart_policy == one.restart_policy) continue;
    const Status set =
        core.engine.set_restart_policy(container->id, one.restart_policy, one.restart_retries_max);
    if (!set.ok() && set.error().code() != Code::kNotFound) return set;
  }
  return {};
}

// Starts one container unless it is up. A failure that waiting cannot mend becomes a problem.
Status start_one(const Core& core,
                 const catalog::Workload& workload,
                 const Instance& row,
                 const docker::Container& container,
                 Settled& settled) {
  if (is_up(container)) return {};
  Status started = core.engine.start(container.id);
  if (!started.ok() && docker::can_never_start(started.error())) {
    TRY_ASSIGN(const Instance made, remake(core, workload, row));
    settled.done.push_back("container " + container.name + " replaced by " + made.container_name +
                           ": the engine could not start it any more");
    started = core.engine.start(made.container_id);
  }
  if (started.ok()) {
    settled.done.push_back("container " + container.name + " started");
    return {};
  }
  if (started.error().code() == Code::kUnavailable) return started;
  settled.problems.push_back("container " + container.name +
                             " could not be started: " + started.error().message());
  return {};
}

Status take_back(const Core& core,
                 const catalog::Workload& workload,
                 const Release& release,
                 Settled& settled) {
  TRY_ASSIGN(const ReleaseConfig config, release_config_from_json(release.config_json));
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  // The new container first: it may hold the old one's ports and data.
  for (const Instance& row : rows) {
    if (row.release_id != release.id) continue;
    TRY(remove_owned(core, row, Ending::kAtOnce));
    settled.done.push_back("container " + row.container_name + " of the failed deploy removed");
  }
  for (const TakenOver& taken : config.takes_over) {
    const auto row = std::find_if(rows.begin(), rows.end(), [&taken](const Instance& candidate) {
      return candidate.container_name == taken.container_name;
    });
    if (row == rows.end() || workload.desired != Desired::kRunning) continue;
    TRY_ASSIGN(const auto container, find_owned(core, *row));
    if (container.has_value()) TRY(start_one(core, workload, *row, *container, settled));
  }
  TRY(put_back_policies(core, config.takes_over, rows));
  return core.catalog.releases().set_state(release.id, ReleaseState::kFailed);
}

Status fix_policy(const Core& core, const docker::Container& container, Settled& settled) {
  if (container.restart_policy != "no" || os::seeded(os::Bug::kPolicyLeftNo)) return {};
  const Status set = core.engine.set_restart_policy(container.id, std::string(kRestartPolicy), 0);
  if (!set.ok()) return set.error().code() == Code::kNotFound ? Status{} : set;
  settled.done.push_back("restart policy of " + container.name + " put back");
  return {};
}

// Makes and starts a container in place of one that is gone.
Status replace_gone(const Core& core,
                    const catalog::Workload& workload,
                    const Release& release,
                    const Instance* gone,
                    Settled& settled) {
  auto made = recreate(core, workload, release, gone);
  if (!made.ok()) {
    if (made.error().code() == Code::kUnavailable) return made.error();
    settled.problems.push_back("no container could be made: " + made.error().message());
    return {};
  }
  const Status started = core.engine.start(made->container_id);
  if (!started.ok() && started.error().code() == Code::kUnavailable) return started;
  if (!started.ok()) {
    settled.problems.push_back("container " + made->container_name +
                               " could not be started: " + started.error().message());
  }
  settled.done.push_back("container " + made->container_name + " made from release " + release.id);
  return {};
}

Status bring_up(const Core& core, const catalog::Workload& workload, Settled& settled) {
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  for (const Instance& row : rows) {
    if (row.state != InstanceState::kRunning) continue;
    const auto found = find_owned(core, row);
    if (!found.ok()) {
      if (found.error().code() != Code::kConflict) return found.error();
      settled.problems.push_back(found.error().message());
      continue;
    }
    if (found->has_value()) {
      TRY(start_one(core, workload, row, **found, settled));
      TRY(fix_policy(core, **found, settled));
      continue;
    }
    TRY_ASSIGN(const auto release, core.catalog.releases().find(row.release_id));
    if (!release.has_value()) {
      return Error(Code::kCorrupt, "release " + row.release_id + " has no row");
    }
    TRY(replace_gone(core, workload, *release, &row, settled));
  }
  if (!rows.empty()) return {};
  TRY_ASSIGN(const auto current, core.catalog.releases().current(workload.id));
  return current.has_value() ? replace_gone(core, workload, *current, nullptr, settled) : Status{};
}

Status bring_down(const Core& core, const catalog::Workload& workload, Settled& settled) {
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
  for (const Instance& row : rows) {
    const auto found = find_owned(core, row);
    if (!found.ok()) {
      if (found.error().code() != Code::kConflict) return found.error();
      settled.problems.push_back(found.error().message());
      continue;
    }
    if (!found->has_value()) continue;
    if (is_up(**found)) {
      TRY(stop_owned(core, **found, static_cast<int>(settings.stop_grace_s)));
      settled.done.push_back("container " + row.container_name + " stopped");
    }
    TRY(fix_policy(core, **found, settled));
  }
  return {};
}

void append(Settled& to, const Settled& from) {
  to.removed = to.removed || from.removed;
  to.done.insert(to.done.end(), from.done.begin(), from.done.end());
  to.problems.insert(to.problems.end(), from.problems.begin(), from.problems.end());
}

}  // namespace

Result<std::vector<Instance>> serving_rows(const Core& core, const std::string& workload_id) {
  TRY_ASSIGN(std::vector<Instance> rows, core.catalog.instances().list(workload_id));
  std::erase_if(rows, [](const Instance& row) { return row.role != InstanceRole::kInstance; });
  return rows;
}

Result<bool> is_unfinished(const Core& core, const catalog::Workload& row) {
  if (row.desired == Desired::kRemoved) return true;
  TRY_ASSIGN(const auto releases, deploying(core, row.id));
  if (!releases.empty()) return true;
  TRY_ASSIGN(const auto instances, serving_rows(core, row.id));
  return std::any_of(instances.begin(), instances.end(), [](const Instance& instance) {
    return instance.state != InstanceState::kRunning;
  });
}

Result<Settled> finish_unfinished(const Core& core, const std::string& workload_id) {
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  if (workload.desired == Desired::kRemoved) return finish_removal(core, workload);
  Settled settled;
  TRY_ASSIGN(const auto releases, deploying(core, workload_id));
  for (const Release& release : releases) TRY(take_back(core, workload, release, settled));
  TRY_ASSIGN(const auto rows, serving_rows(core, workload_id));
  for (const Instance& row : rows) {
    if (row.state == InstanceState::kRunning) continue;
    const bool served = row.state == InstanceState::kRetiring;
    TRY(remove_owned(core, row, served ? Ending::kGraceful : Ending::kAtOnce));
    settled.done.push_back("container " + row.container_name + " removed");
  }
  return settled;
}

Result<Settled> reconcile(const Core& core, const std::string& workload_id, Desired desired) {
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  Settled settled;
  switch (desired) {
    case Desired::kRunning:
      TRY(bring_up(core, workload, settled));
      break;
    case Desired::kStopped:
      TRY(bring_down(core, workload, settled));
      break;
    case Desired::kRemoved:
      break;
  }
  return settled;
}

Result<Settled> settle(const Core& core, const std::string& workload_id) {
  TRY_ASSIGN(Settled settled, finish_unfinished(core, workload_id));
  if (settled.removed) return settled;
  TRY_ASSIGN(const catalog::Workload workload, core.catalog.workloads().get(workload_id));
  TRY_ASSIGN(const Settled reconciled, reconcile(core, workload_id, workload.desired));
  append(settled, reconciled);
  return settled;
}

Result<Instance> remake(const Core& core, const catalog::Workload& workload, const Instance& row) {
  TRY_ASSIGN(const auto release, core.catalog.releases().find(row.release_id));
  if (!release.has_value()) {
    return Error(Code::kCorrupt, "release " + row.release_id + " has no row");
  }
  TRY(remove_container(core, row, Ending::kGraceful));
  return recreate(core, workload, *release, &row);
}

Result<Instance> recreate(const Core& core,
                          const catalog::Workload& workload,
                          const Release& release,
                          const Instance* gone) {
  TRY_ASSIGN(const ReleaseConfig config, release_config_from_json(release.config_json));
  TRY_ASSIGN(Instance row, plan_instance(core, workload, release, config));
  TRY(core.catalog.instances().insert(row));
  const Status created = create_owned(core, workload, release, config, row);
  if (!created.ok()) {
    // While the engine is away nobody can tell whether it made the container: the row stays, for
    // recovery to find it.
    if (created.error().code() != Code::kUnavailable) TRY(remove_owned(core, row, Ending::kAtOnce));
    return created.error();
  }
  row.state = InstanceState::kRunning;
  const auto exchange_rows = [&core, &row, gone]() -> Status {
    if (gone != nullptr) TRY(core.catalog.instances().remove(gone->container_name));
    return core.catalog.instances().update(row);
  };
  const Status stored = core.catalog.atomically(exchange_rows);
  if (!stored.ok()) return stored.error();
  return row;
}

}  // namespace cairn::workload
