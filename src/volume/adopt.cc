// mappings -> volumes -> directories of the snapshot, checked -> row cut -> new top trees, index,
// snapshot -> row stored. docs/ordering.md has the order.
#include "volume/adopt.h"

#include <algorithm>
#include <set>

#include "base/ids.h"
#include "base/strings.h"
#include "repository/adoption.h"
#include "volume/snapshot_row.h"

namespace cairn::volume {

namespace {

std::string field(std::size_t at, const char* member) {
  return "map[" + std::to_string(at) + "]." + member;
}

// What was checked, ready to be stored.
struct AdoptPlan {
  repository::Adoption adoption;
  std::vector<repository::AdoptedRoot> roots;
  AdoptForecast shown;
};

// A mapping whose target is a volume that snapshots hold.
struct Chosen {
  std::size_t at = 0;  // in the request's list
  DeclaredVolume volume;
  std::string path;
};

// The reason why a volume is in no snapshot of the workload, if there is one.
Reason why_skipped(const std::vector<DeclaredVolume>& declared,
                   const Resolution& resolution,
                   const std::string& target) {
  const std::string name = printable(target);
  const auto volume = std::ranges::find(declared, target, &DeclaredVolume::target);
  if (volume == declared.end()) {
    return {"", "not_declared", "the workload's current config has no volume at " + name};
  }
  if (!is_capturable(volume->scope)) {
    return {"", "not_capturable",
            name + " is of scope " + std::string(scope_name(volume->scope)) +
                ", which cannot be restored"};
  }
  const auto reason = std::ranges::find(resolution.reasons, target, &Reason::target);
  if (reason != resolution.reasons.end()) return {"", reason->code, name + ": " + reason->detail};
  const auto found = std::ranges::find(resolution.volumes, target, &ResolvedVolume::target);
  if (found != resolution.volumes.end() && found->obstacle) {
    return {"", found->obstacle->code, name + ": " + found->obstacle->detail};
  }
  return {};
}

// In byte order of target, as the volumes of every snapshot are numbered.
Result<std::vector<Chosen>> choose_volumes(Core& core,
                                           const catalog::Workload& workload,
                                           const std::vector<AdoptMapping>& map,
                                           std::vector<Reason>& reasons) {
  TRY_ASSIGN(const std::vector<DeclaredVolume> declared, declared_volumes(core, workload));
  TRY_ASSIGN(const PlaceSettings settings, read_place_settings(core));
  TRY_ASSIGN(const Resolution resolution,
             resolve_volumes(core.catalog, settings, workload.id, declared));
  std::vector<Chosen> out;
  for (std::size_t at = 0; at < map.size(); ++at) {
    Reason reason = why_skipped(declared, resolution, map[at].target);
    if (!reason.code.empty()) {
      reason.target = field(at, "target");
      reasons.push_back(std::move(reason));
      continue;
    }
    const auto volume = std::ranges::find(declared, map[at].target, &DeclaredVolume::target);
    out.push_back({at, *volume, map[at].path});
  }
  std::ranges::sort(out, {}, [](const Chosen& one) { return one.volume.target; });
  return out;
}

// The snapshot that is named, with a reason for its field where it cannot be had.
Result<repository::Adoption> open_source(Core& core, const std::string& digits) {
  auto adoption = repository::Adoption::open(core.repository, digits);
  if (adoption.ok()) return adoption;
  const Code code = adoption.error().code();
  if (code != Code::kInvalid && code != Code::kNotFound) return adoption.error();
  return Error(
      code, adoption.error().message(),
      {.reasons = {{"snapshot", std::string(code_name(code)), adoption.error().message()}}});
}

// A row of Cairn's stands for that snapshot already, or is about to.
Status check_unknown(Core& core,
                     const repository::SnapshotInfo& source,
                     std::vector<Reason>& reasons) {
  TRY_ASSIGN(std::optional<catalog::SnapshotRow> row,
             core.catalog.snapshots().find_by_repository_snapshot(source.id.hex()));
  for (const std::string& tag : source.meta.tags) {
    if (row || !ids::is(ids::kSnapshot, tag)) continue;
    TRY_ASSIGN(row, core.catalog.snapshots().find(tag));
    // One that has its repository snapshot has another: somebody copied the tags.
    if (row && !row->repository_snapshot.empty()) row.reset();
  }
  if (!row) return {};
  reasons.push_back(
      {"snapshot", "known",
       "it is snapshot " + row->id + " of workload " + row->workload_name + " already"});
  return {};
}

// The directories, checked, or a reason for each that cannot be taken.
Status find_roots(const std::vector<Chosen>& chosen,
                  const std::stop_token& stop,
                  AdoptPlan& plan,
                  std::vector<Reason>& reasons) {
  int index = 0;
  for (const Chosen& one : chosen) {
    auto root = plan.adoption.find(index, one.path, stop);
    if (!root.ok()) {
      if (root.error().detail().reasons.empty()) return root.error();
      Reason reason = root.error().detail().reasons.front();
      reason.target = field(one.at, "path");
      reasons.push_back(std::move(reason));
      continue;
    }
    plan.shown.volumes.push_back({.index = index++,
                                  .target = one.volume.target,
                                  .scope = std::string(scope_name(one.volume.scope)),
                                  .source = one.volume.source,
                                  .path = one.path,
                                  .bytes = root->size.bytes,
                                  .files = root->size.files});
    if (root->made_up) {
      plan.shown.warnings.push_back(one.volume.target +
                                    ": a snapshot holds no owner and mode of its own root: it "
                                    "will be root's, with mode 0755");
    }
    plan.roots.push_back(std::move(*root));
  }
  return {};
}

Error refusal(Code code, const std::string& what, std::vector<Reason> reasons) {
  std::string words = what;
  for (const Reason& one : reasons) words += "; " + one.target + ": " + one.detail;
  return {code, std::move(words), {.reasons = std::move(reasons)}};
}

Result<AdoptPlan> plan_adoption(Core& core,
                                const catalog::Workload& workload,
                                const AdoptOptions& options,
                                const std::stop_token& stop) {
  const std::string what = "adoption into " + workload.name + " is refused";
  if (std::vector<Reason> faults = check_mappings(options.map); !faults.empty()) {
    return refusal(Code::kInvalid, what, std::move(faults));
  }
  TRY_ASSIGN(repository::Adoption adoption, open_source(core, options.snapshot));
  AdoptPlan plan{.adoption = std::move(adoption), .roots = {}, .shown = {}};
  const repository::SnapshotInfo& source = plan.adoption.source();
  plan.shown.adopted_from = source.id.hex();
  plan.shown.created_ms =
      source.meta.time.seconds * 1000 + source.meta.time.nanoseconds / 1'000'000;
  std::vector<Reason> reasons;
  TRY(check_unknown(core, source, reasons));
  TRY_ASSIGN(const std::vector<Chosen> chosen,
             choose_volumes(core, workload, options.map, reasons));
  TRY(find_roots(chosen, stop, plan, reasons));
  if (!reasons.empty()) return refusal(Code::kRefused, what, std::move(reasons));
  return plan;
}

catalog::SnapshotRow row_of(const catalog::Workload& workload,
                            const AdoptForecast& shown,
                            const std::string& operation) {
  catalog::SnapshotRow row;
  row.id = ids::make(ids::kSnapshot);
  row.workload_id = workload.id;
  row.workload_name = workload.name;
  row.operation_id = operation;
  row.reason = catalog::SnapshotReason::kAdopted;
  row.consistency = kConsistencyUnknown;
  row.data_generation = workload.data_generation;
  row.created_ms = shown.created_ms;
  row.adopted_from = shown.adopted_from;
  row.warnings = shown.warnings;
  for (const AdoptedVolume& one : shown.volumes) {
    row.volumes.push_back({.index = one.index,
                           .target = one.target,
                           .scope = one.scope,
                           .source = one.source,
                           .bytes = one.bytes,
                           .files = one.files});
    row.bytes += one.bytes;
    row.files += one.files;
  }
  return row;
}

}  // namespace

std::vector<Reason> check_mappings(const std::vector<AdoptMapping>& map) {
  std::vector<Reason> out;
  if (map.empty() || map.size() > kVolumesMax) {
    out.push_back(
        {"map", "invalid", "must map from 1 to " + std::to_string(kVolumesMax) + " volumes"});
    return out;
  }
  std::set<std::string> targets;
  for (std::size_t at = 0; at < map.size(); ++at) {
    if (const auto path = repository::parse_tree_path(map[at].path); !path.ok()) {
      out.push_back({field(at, "path"), "invalid_path", path.error().message()});
    }
    if (!is_target(map[at].target)) {
      out.push_back({field(at, "target"), "invalid",
                     "'" + printable(map[at].target) + "' is no absolute container path"});
    } else if (!targets.insert(map[at].target).second) {
      out.push_back(
          {field(at, "target"), "mapped_twice", printable(map[at].target) + " is mapped twice"});
    }
  }
  return out;
}

Result<AdoptForecast> forecast_adoption(Core& core,
                                        const catalog::Workload& workload,
                                        const AdoptOptions& options,
                                        const std::stop_token& stop) {
  TRY_ASSIGN(AdoptPlan plan, plan_adoption(core, workload, options, stop));
  return std::move(plan.shown);
}

Result<catalog::SnapshotRow> run_adoption(Core& core,
                                          const catalog::Workload& workload,
                                          const AdoptOptions& options,
                                          catalog::OperationContext& context) {
  context.phase("check");
  TRY_ASSIGN(AdoptPlan plan, plan_adoption(core, workload, options, context.stop_token()));
  context.phase("store");
  catalog::SnapshotRow row = row_of(workload, plan.shown, context.id());
  const repository::SnapshotInfo source = plan.adoption.source();
  TRY(insert_cut_row(core, row));
  auto manifest = make_manifest(core, row);
  Result<repository::PendingSnapshot> pending =
      manifest.ok() ? plan.adoption.store(*manifest, plan.roots, context.stop_token())
                    : Result<repository::PendingSnapshot>(manifest.error());
  repository::SnapshotMeta meta = meta_of(row);
  meta.time = source.meta.time;
  meta.original = source.id;
  const Status stored = commit_row(core, std::move(pending), meta, row);
  if (!stored.ok()) return stored.error().with_context("adoption into " + workload.name);
  tell(core, "snapshot.adopted", workload.id, context.id(),
       "snapshot " + row.id + " of " + workload.name + " was made of the repository's snapshot " +
           row.adopted_from.substr(0, repository::kAdoptDigitsMin));
  return row;
}

}  // namespace cairn::volume
