#include "workload/service.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/ids.h"
#include "os/fault.h"
#include "workload/containers.h"
#include "workload/deploy.h"
#include "workload/recovery.h"
#include "workload/registry.h"
#include "workload/settle.h"
#include "workload/view.h"

namespace cairn::workload {

using catalog::Desired;

const std::string& release_identity(const catalog::Release& release) {
  return release.digest.empty() ? release.image_id : release.digest;
}

Workloads::Workloads(Parts parts)
    : parts_(std::move(parts)), recovery_(std::make_unique<Recovery>(parts_)) {}

Workloads::~Workloads() = default;

namespace {

Error fault(std::string field, std::string code, std::string detail) {
  std::string message = field + " " + detail;
  ErrorDetail more;
  more.reasons.push_back({std::move(field), std::move(code), std::move(detail)});
  return {Code::kInvalid, std::move(message), std::move(more)};
}

// A masked value that came back from "show" keeps what is stored.
Status unmask_env(std::map<std::string, std::string>& env, const catalog::Env& stored) {
  for (auto& [name, value] : env) {
    if (value != kMaskedValue) continue;
    const auto known = stored.find(name);
    if (known == stored.end()) {
      return fault("config.env." + name, "masked", "is masked and no value is stored for it");
    }
    value = known->second;
  }
  return {};
}

// Makes the row or changes it; its id. One transaction with the look at the registry that it names.
Result<std::string> store_definition(const Core& core,
                                     const Definition& definition,
                                     const std::optional<catalog::Workload>& existing,
                                     Applied& applied) {
  ImageConfig checked = definition.config;
  TRY(use_registry(core, checked));
  if (!existing.has_value()) {
    catalog::Workload row;
    row.id = ids::make(ids::kWorkload);
    row.name = definition.name;
    row.kind = definition.kind;
    row.config_json = config_to_json(definition.config);
    row.env = definition.config.env;
    row.faces_json = faces_to_json(definition.public_faces);
    TRY(core.catalog.workloads().insert(row));
    applied.created = applied.changed = true;
    return row.id;
  }
  catalog::WorkloadTable::Change change;
  change.config_json = config_to_json(definition.config);
  change.env = definition.config.env;
  change.faces_json = faces_to_json(definition.public_faces);
  TRY_ASSIGN(const catalog::Workload now,
             core.catalog.workloads().update_config(existing->id, change));
  applied.changed = now.config_version != existing->config_version;
  return existing->id;
}

Status write_audit(const Core& core,
                   const std::string& actor,
                   const std::string& action,
                   const std::string& subject,
                   const std::string& detail) {
  catalog::AuditEntry entry;
  entry.actor = actor;
  entry.action = action;
  entry.subject = subject;
  entry.detail = detail;
  TRY(core.catalog.audit().append(entry));
  return {};
}

}  // namespace

Result<Applied> Workloads::apply(std::string_view text,
                                 TextFormat format,
                                 const std::string& actor) {
  TRY_ASSIGN(Definition definition, parse_definition(text, format));
  TRY_ASSIGN(const auto existing, parts_.catalog.workloads().find(definition.name));
  if (existing.has_value() && existing->desired == Desired::kRemoved) {
    return Error(Code::kConflict, "workload " + definition.name + " is being removed");
  }
  TRY(unmask_env(definition.config.env, existing.has_value() ? existing->env : catalog::Env{}));
  if (existing.has_value()) {
    TRY_ASSIGN(const auto volumes,
               volume::effective_volumes(parts_.catalog, existing->id, definition.config.volumes));
    if (const auto reason = check_handover(definition.config, volumes)) {
      return fault(reason->target, reason->code, reason->detail);
    }
  }
  TRY(write_audit(parts_, actor, "workload.apply", definition.name, ""));

  Applied applied;
  std::string id;
  TRY(parts_.catalog.atomically([&]() -> Status {
    TRY_ASSIGN(id, store_definition(parts_, definition, existing, applied));
    return {};
  }));
  if (applied.changed) {
    tell(parts_, applied.created ? "workload.created" : "workload.changed", id, "",
         "workload " + definition.name + (applied.created ? " created" : " changed"));
  }
  TRY_ASSIGN(applied.workload, view_workload(parts_, id));
  return applied;
}

Result<WorkloadView> Workloads::show(const std::string& id_or_name) {
  return view_workload(parts_, id_or_name);
}

Result<std::vector<WorkloadView>> Workloads::list() {
  return view_workloads(parts_);
}

Result<std::vector<VolumeView>> Workloads::list_volumes(const std::string& id_or_name) {
  return view_volumes(parts_, id_or_name);
}

Status Workloads::set_volume(const std::string& id_or_name,
                             const volume::DeclaredVolume& volume,
                             const std::string& actor) {
  TRY_ASSIGN(const catalog::Workload workload, get_living(parts_, id_or_name));
  TRY_ASSIGN(const ImageConfig config, config_from_json(workload.config_json));
  catalog::VolumeRow row;
  row.workload_id = workload.id;
  row.target = volume.target;
  row.source = volume.source;
  row.scope = volume::scope_name(volume.scope);
  row.name = volume.name;
  TRY_ASSIGN(const volume::DeclaredVolume checked, volume::check_volume(row));
  TRY_ASSIGN(const auto now,
             volume::effective_volumes(parts_.catalog, workload.id, config.volumes));
  const auto after = volume::merge_volumes(now, {checked});
  if (after.size() > volume::kVolumesMax) {
    return fault("target", "too_many",
                 fmt::format("a workload has at most {} volumes", volume::kVolumesMax));
  }
  if (const auto reason = check_handover(config, after)) {
    return fault(reason->target, reason->code, reason->detail);
  }
  TRY(write_audit(parts_, actor, "volume.set", workload.name, volume.target));
  TRY(parts_.catalog.volumes().set(row));
  tell(parts_, "volume.set", workload.id, "",
       fmt::format("{}: volume {} is {} from the next deploy on", workload.name, row.target,
                   row.scope));
  return {};
}

Status Workloads::unset_volume(const std::string& id_or_name,
                               const std::string& target,
                               const std::string& actor) {
  TRY_ASSIGN(const catalog::Workload workload, get_living(parts_, id_or_name));
  TRY_ASSIGN(const auto row, parts_.catalog.volumes().find(workload.id, target));
  if (!row.has_value()) {
    return Error(Code::kNotFound, "no volume is set for " + target + " of " + workload.name);
  }
  TRY(write_audit(parts_, actor, "volume.unset", workload.name, target));
  TRY(parts_.catalog.volumes().unset(workload.id, target));
  tell(parts_, "volume.unset", workload.id, "",
       fmt::format("{}: volume {} is not set any more", workload.name, target));
  return {};
}

Result<std::vector<RegistryView>> Workloads::list_registries() {
  return view_registries(parts_);
}

Result<RegistryView> Workloads::set_registry(const catalog::Registry& registry) {
  TRY(check_registry(registry));
  TRY(parts_.catalog.registries().set(registry));
  tell(parts_, "registry.set", "", "",
       fmt::format("registry {} is {}, user {}", registry.name, registry.url, registry.user));
  TRY_ASSIGN(auto views, view_registries(parts_));
  for (RegistryView& view : views) {
    if (view.row.name == registry.name) return std::move(view);
  }
  return Error(Code::kConflict, "registry " + registry.name + " was removed meanwhile");
}

Status Workloads::remove_registry(const std::string& name) {
  TRY(workload::remove_registry(parts_, name));
  tell(parts_, "registry.removed", "", "", "registry " + name + " removed");
  return {};
}

Result<DeployResult> Workloads::deploy(const std::string& id_or_name,
                                       const DeployOptions& options,
                                       catalog::OperationContext& context) {
  return workload::deploy(parts_, *recovery_, id_or_name, options, context);
}

// Locked, finished, then the desired state is durable before the first container is touched.
Status Workloads::change_desired(const std::string& id_or_name,
                                 Desired desired,
                                 OnBusy on_busy,
                                 catalog::OperationContext& context) {
  TRY_ASSIGN(catalog::Workload workload, get_living(parts_, id_or_name));
  TRY_ASSIGN(const auto keys, workload_keys(parts_, workload));
  TRY_ASSIGN(parallel::LockGuard guard, volume::take_lock(parts_.locks, keys, on_busy, context));
  TRY_ASSIGN(workload, get_living(parts_, workload.id));
  auto settled = finish_unfinished(parts_, workload.id);
  const bool wanted = settled.ok();  // and told so to the catalog
  if (wanted) {
    TRY(context.forbid_cancel());
    if (!os::seeded(os::Bug::kDesiredStateNotStored)) {
      TRY(parts_.catalog.workloads().set_desired(workload.id, desired));
    }
    context.phase(desired == Desired::kRunning ? "start" : "stop");
    settled = reconcile(parts_, workload.id, desired);
  }
  if (!settled.ok()) {
    recovery_->adopt(workload.id, std::move(guard));
    const Error& error = settled.error();
    return wanted ? error.with_context("it goes on when that is possible") : error;
  }
  if (settled->problems.empty()) return {};
  // What cannot run is not wanted to: the old state comes back.
  if (workload.desired != desired) {
    TRY(parts_.catalog.workloads().set_desired(workload.id, workload.desired));
    TRY(reconcile(parts_, workload.id, workload.desired));
  }
  return Error(Code::kConflict, fmt::format("{}", fmt::join(settled->problems, "; ")));
}

Status Workloads::stop(const std::string& id_or_name,
                       OnBusy on_busy,
                       catalog::OperationContext& context) {
  TRY_ASSIGN(const catalog::Workload workload, get_living(parts_, id_or_name));
  TRY_CONTEXT(change_desired(workload.id, Desired::kStopped, on_busy, context),
              "stop " + workload.name);
  tell(parts_, "workload.stopped", workload.id, context.id(),
       "workload " + workload.name + " stopped");
  return {};
}

Status Workloads::start(const std::string& id_or_name,
                        OnBusy on_busy,
                        catalog::OperationContext& context) {
  TRY_ASSIGN(const catalog::Workload workload, get_living(parts_, id_or_name));
  TRY_ASSIGN(const auto current, parts_.catalog.releases().current(workload.id));
  if (!current.has_value()) {
    return Error(Code::kConflict, "workload " + workload.name +
                                      " was never deployed: cairn workload deploy " +
                                      workload.name);
  }
  TRY_CONTEXT(change_desired(workload.id, Desired::kRunning, on_busy, context),
              "start " + workload.name);
  tell(parts_, "workload.started", workload.id, context.id(),
       "workload " + workload.name + " started");
  context.phase("health");
  TRY_ASSIGN(const auto rows, serving_rows(parts_, workload.id));
  std::vector<std::string> ids;
  for (const catalog::Instance& row : rows) ids.push_back(row.container_id);
  TRY_CONTEXT(await_health(workload.id, ids, context.ending_token()), "start " + workload.name);
  return {};
}

Status Workloads::remove(const std::string& id_or_name,
                         OnBusy on_busy,
                         const std::string& actor,
                         catalog::OperationContext& context) {
  TRY_ASSIGN(const catalog::Workload workload, parts_.catalog.workloads().get(id_or_name));
  auto resolved = workload_keys(parts_, workload);
  const std::vector<std::string> keys =
      resolved.ok() ? std::move(*resolved) : std::vector<std::string>{"workload:" + workload.id};
  TRY_ASSIGN(parallel::LockGuard guard, volume::take_lock(parts_.locks, keys, on_busy, context));
  TRY(context.forbid_cancel());
  TRY(write_audit(parts_, actor, "workload.remove", workload.name, workload.id));
  context.phase("remove");
  // Durable before the first container goes: a removal that is cut off goes on.
  TRY(parts_.catalog.workloads().set_desired(workload.id, Desired::kRemoved));
  const auto settled = finish_unfinished(parts_, workload.id);
  if (!settled.ok()) {
    recovery_->adopt(workload.id, std::move(guard));
    return settled.error().with_context("remove " + workload.name + " (it goes on later)");
  }
  tell(parts_, "workload.removed", workload.id, context.id(),
       "workload " + workload.name + " removed");
  return {};
}

Status Workloads::logs(const std::string& id_or_name,
                       const LogRequest& request,
                       const docker::LogSink& sink,
                       std::stop_token stop) {
  TRY_ASSIGN(const catalog::Workload workload, parts_.catalog.workloads().get(id_or_name));
  TRY_ASSIGN(auto rows, serving_rows(parts_, workload.id));
  std::reverse(rows.begin(), rows.end());
  for (const catalog::Instance& row : rows) {
    TRY_ASSIGN(const auto container, find_owned(parts_, row));
    if (!container.has_value()) continue;
    docker::LogOptions options;
    options.tail = request.tail;
    options.follow = request.follow;
    options.timestamps = request.timestamps;
    options.since_ms = request.since_ms;
    return parts_.engine.logs(container->id, options, sink, std::move(stop));
  }
  return Error(Code::kConflict, "workload " + workload.name + " has no container");
}

Status Workloads::recover() {
  return recovery_->run();
}

void Workloads::end_recovery() {
  recovery_->end();
}

std::vector<std::string> Workloads::recovering() const {
  return recovery_->pending();
}

}  // namespace cairn::workload
