#include "workload/deploy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "os/fault.h"
#include "workload/containers.h"
#include "workload/deploy_plan.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

using catalog::Instance;
using catalog::InstanceState;

// A definition that changes while its image is pulled is planned anew, so often at most.
constexpr int kPlanTriesMax = 5;

// A row whose container is up. People may have renamed the container: the row's name counts.
struct Up {
  std::string row_name;
  docker::Container container;
};

// One deploy of one workload. One thread; run() is called once.
class Deployment {
 public:
  Deployment(const Core& core,
             Recovery& recovery,
             const DeployOptions& options,
             catalog::OperationContext& context)
      : core_(core), recovery_(recovery), options_(options), context_(context) {}

  Result<DeployResult> run(const std::string& id_or_name);

 private:
  Status prepare(const std::string& id_or_name);
  Result<bool> is_unchanged();
  Status observe_old();
  [[nodiscard]] bool is_old_up(const Instance& row) const;
  Status store_rows();
  Status hand_over();
  Status stop_old();
  Status await_health();
  Status commit();
  void retire();
  Error take_back(const Error& why);
  void warn(const std::string& text);

  const Core& core_;
  Recovery& recovery_;
  const DeployOptions& options_;
  catalog::OperationContext& context_;
  Stopwatch watch_;
  DeployPlan plan_;
  FetchedImage fetched_;
  parallel::LockGuard guard_;
  catalog::Release release_;
  ReleaseConfig config_;
  Instance instance_;
  std::vector<Instance> old_;       // rows that serve now, newest first
  std::vector<Up> old_up_;          // those of them that are up
  std::vector<Instance> victims_;   // what exceeds max_instances after the commit
  std::int64_t hold_begin_ms_ = 0;  // monotonic; 0: no hold
  DeployResult result_;
};

void Deployment::warn(const std::string& text) {
  result_.warnings.push_back(text);
  context_.warn(text);
}

// The image first, without the lock: a pull may take minutes, and a capture need not wait for it.
Status Deployment::prepare(const std::string& id_or_name) {
  for (int tries = 1;; ++tries) {
    context_.phase("plan");
    TRY_ASSIGN(plan_, plan_deploy(core_, id_or_name, options_));
    if (options_.on_busy == OnBusy::kRefuse) {
      // Taken and given back: says "busy" before a long pull.
      TRY(core_.locks.try_lock(plan_.keys, context_.id()));
    }
    context_.phase("image");
    TRY_ASSIGN(fetched_, fetch_image(core_, plan_.config, plan_.registry, options_.tag, context_,
                                     context_.stop_token()));
    TRY_ASSIGN(guard_, volume::take_lock(core_.locks, plan_.keys, options_.on_busy, context_));
    const DeployPlan before = plan_;
    TRY_ASSIGN(plan_, plan_deploy(core_, id_or_name, options_));
    if (plan_.keys == before.keys && plan_.config == before.config) break;
    guard_.release();
    if (tries == kPlanTriesMax) {
      return Error(Code::kConflict, "the definition keeps changing while it is deployed");
    }
  }
  const auto finished = finish_unfinished(core_, plan_.workload.id);
  if (!finished.ok()) {
    recovery_.adopt(plan_.workload.id, std::move(guard_));
    return finished.error().with_context("an earlier operation has to be finished first");
  }
  TRY_ASSIGN(release_, plan_release(plan_, fetched_));
  release_.operation_id = context_.id();
  TRY_ASSIGN(const ReleaseConfig planned, release_config_from_json(release_.config_json));
  for (const std::string& target : options_.allow_anonymous) {
    if (std::ranges::find(planned.allow_anonymous, target) != planned.allow_anonymous.end())
      continue;
    warn(fmt::format("--allow-anonymous {}: there is no VOLUME of the image that the config lacks",
                     printable(target)));
  }
  return observe_old();
}

Status Deployment::observe_old() {
  TRY_ASSIGN(old_, serving_rows(core_, plan_.workload.id));
  std::reverse(old_.begin(), old_.end());
  for (const Instance& row : old_) {
    const auto container = find_owned(core_, row);
    if (!container.ok()) {
      if (container.error().code() != Code::kConflict) return container.error();
      warn(container.error().message());
    } else if (container->has_value() && is_up(**container)) {
      old_up_.push_back({row.container_name, **container});
    }
  }
  return {};
}

bool Deployment::is_old_up(const Instance& row) const {
  return std::any_of(old_up_.begin(), old_up_.end(),
                     [&row](const Up& up) { return up.row_name == row.container_name; });
}

Result<bool> Deployment::is_unchanged() {
  TRY_ASSIGN(const auto current, core_.catalog.releases().current(plan_.workload.id));
  if (!current.has_value() || plan_.workload.desired != catalog::Desired::kRunning) return false;
  const bool runs = std::any_of(old_up_.begin(), old_up_.end(), [&](const Up& up) {
    const auto row = std::find_if(old_.begin(), old_.end(), [&up](const Instance& candidate) {
      return candidate.container_name == up.row_name;
    });
    return row != old_.end() && row->release_id == current->id && up.container.running &&
           !up.container.restarting && !up.container.paused;
  });
  if (!runs || !is_same_release(release_, *current)) return false;
  result_.release = *current;
  return true;
}

// Rows before containers: what a crash leaves is found by them.
Status Deployment::store_rows() {
  context_.phase("prepare");
  for (auto& volume : plan_.resolved) {
    TRY_CONTEXT(volume::make_place(core_.catalog, core_.engine, plan_.workload.id, volume),
                "volume " + volume.target);
  }
  TRY_ASSIGN(config_, release_config_from_json(release_.config_json));
  if (plan_.handover == Handover::kStopFirst) {
    for (const auto& [row_name, container] : old_up_) {
      config_.takes_over.push_back({.container_name = row_name,
                                    .restart_policy = container.restart_policy == "no"
                                                          ? std::string(kRestartPolicy)
                                                          : container.restart_policy,
                                    .restart_retries_max = container.restart_retries_max});
    }
    release_.config_json = release_config_to_json(config_);
  }
  TRY_ASSIGN(instance_, plan_instance(core_, plan_.workload, release_, config_));
  return core_.catalog.atomically([this]() -> Status {
    TRY(core_.catalog.releases().insert(release_));
    return core_.catalog.instances().insert(instance_);
  });
}

// From here on containers change; the new one exists before the old one stops, so that the hold
// holds no more than it must.
Status Deployment::hand_over() {
  context_.phase("create");
  TRY(create_owned(core_, plan_.workload, release_, config_, instance_));
  if (os::seeded(os::Bug::kOldContainerRemovedFirst)) {
    for (const Instance& row : old_) TRY(remove_owned(core_, row, Ending::kGraceful));
  }
  if (plan_.handover == Handover::kStopFirst) TRY(stop_old());
  context_.phase("start");
  const Status started = core_.engine.start(instance_.container_id);
  if (!started.ok()) {
    const Error error = started.error().with_context("start " + instance_.container_name);
    if (error.code() != Code::kInternal) return error;
    // The engine's "server error" is mostly about this container: a host port that is taken, a
    // device that is missing. Its words are what the person needs.
    ErrorDetail detail = error.detail();
    detail.probe = started.error().message();
    return Error(Code::kUnhealthy, error.message(), std::move(detail));
  }
  return await_health();
}

Status Deployment::stop_old() {
  if (old_up_.empty()) return {};
  context_.phase("stop");
  hold_begin_ms_ = monotonic_ms();
  for (const auto& [row_name, container] : old_up_) {
    // An engine that restarts in between must not start it beside the new one.
    TRY_CONTEXT(core_.engine.set_restart_policy(container.id, "no", 0),
                "set the restart policy of " + container.name);
  }
  for (const auto& [row_name, container] : old_up_) {
    TRY(stop_owned(core_, container, static_cast<int>(plan_.settings.stop_grace_s)));
  }
  return {};
}

Status Deployment::await_health() {
  context_.phase("health");
  TRY(await_healthy(core_.engine, instance_.container_id,
                    health_rule(config_.config, config_.image_has_healthcheck, config_.network),
                    core_.pace, plan_.settings.health_timeout_s * 1000, context_.stop_token()));
  if (hold_begin_ms_ != 0) result_.hold_ms = monotonic_ms() - hold_begin_ms_;
  return {};
}

// The point of no return: one transaction.
Status Deployment::commit() {
  context_.phase("commit");
  TRY(context_.forbid_cancel());
  int kept = 1;  // the new one
  for (const Instance& row : old_) {
    if (kept < plan_.config.max_instances && is_old_up(row)) {
      ++kept;
    } else {
      victims_.push_back(row);
    }
  }
  config_.takes_over.clear();
  release_.config_json = release_config_to_json(config_);
  instance_.state = InstanceState::kRunning;
  for (Instance& victim : victims_) victim.state = InstanceState::kRetiring;
  return core_.catalog.atomically([this]() -> Status {
    catalog::Catalog& catalog = core_.catalog;
    TRY(catalog.releases().update(release_));
    TRY(catalog.releases().promote(release_.id));
    TRY(catalog.instances().update(instance_));
    for (const auto& volume : plan_.resolved) {
      if (volume.kind == volume::ResolvedVolume::Kind::kTmpfs) continue;
      TRY(catalog.places().mark_held(plan_.workload.id,
                                     volume::key_of_place(plan_.workload.id, volume)));
    }
    for (const Instance& victim : victims_) TRY(catalog.instances().update(victim));
    if (os::seeded(os::Bug::kDesiredStateNotStored)) return {};
    return catalog.workloads().set_desired(plan_.workload.id, catalog::Desired::kRunning);
  });
}

// After the commit nothing fails any more; what cannot be removed now is left to recovery.
void Deployment::retire() {
  context_.phase("retire");
  bool left = false;
  for (const Instance& victim : victims_) {
    const Status removed = remove_owned(core_, victim, Ending::kGraceful);
    if (removed.ok()) continue;
    warn("the old container is removed later: " + removed.error().message());
    left = true;
  }
  if (left) recovery_.adopt(plan_.workload.id, std::move(guard_));
}

// Brings the old state back. The error is why the deploy failed, with what became of the old state.
Error Deployment::take_back(const Error& why) {
  context_.phase("take back");
  const std::string name = plan_.workload.name;
  ErrorDetail detail = why.detail();
  detail.operation = context_.id();
  std::string message = fmt::format("deploy {}: {}", name, why.message());
  const auto settled = settle(core_, plan_.workload.id);
  if (!settled.ok()) {
    message += "; the old state comes back when this is over: " + settled.error().message();
    recovery_.adopt(plan_.workload.id, std::move(guard_));
  } else if (!settled->problems.empty()) {
    message += fmt::format("; {}", fmt::join(settled->problems, "; "));
  }
  tell(core_, "deploy.failed", plan_.workload.id, context_.id(), message);
  return Error(why.code(), message).with_detail(std::move(detail));
}

Result<DeployResult> Deployment::run(const std::string& id_or_name) {
  TRY(prepare(id_or_name));
  TRY_ASSIGN(result_.unchanged, is_unchanged());
  if (!result_.unchanged || options_.force) {
    result_.unchanged = false;
    Status status = store_rows();
    if (status.ok()) status = hand_over();
    if (status.ok()) status = commit();
    if (!status.ok()) {
      // A commit whose answer was lost may have happened: the catalog says, and settle() asks it.
      const auto stored = core_.catalog.releases().find(release_.id);
      const bool committed =
          stored.ok() && stored->has_value() && (*stored)->state == catalog::ReleaseState::kRunning;
      if (!committed) return take_back(status.error());
    }
    retire();
    TRY_ASSIGN(auto stored, core_.catalog.releases().find(release_.id));
    result_.release = stored.has_value() ? std::move(*stored) : release_;
    tell(core_, "deploy.done", plan_.workload.id, context_.id(),
         fmt::format("{} runs {} ({})", plan_.workload.name, release_.image + ":" + release_.tag,
                     release_identity(release_)));
  }
  result_.total_ms = watch_.elapsed_ms();
  return std::move(result_);
}

}  // namespace

Result<DeployResult> deploy(const Core& core,
                            Recovery& recovery,
                            const std::string& id_or_name,
                            const DeployOptions& options,
                            catalog::OperationContext& context) {
  return Deployment(core, recovery, options, context).run(id_or_name);
}

}  // namespace cairn::workload
