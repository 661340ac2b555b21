#include "volume/capture.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "codec/sealer.h"
#include "os/fault.h"
#include "repository/archiver.h"
#include "volume/journal.h"
#include "volume/manifest.h"
#include "volume/pause.h"
#include "volume/quiesce.h"

namespace cairn::volume {

namespace {

constexpr std::string_view kCapturing = "CAPTURING";

catalog::SkippedVolume skipped(const DeclaredVolume& volume, std::string code, std::string reason) {
  return {volume.target, std::string(scope_name(volume.scope)), std::move(code), std::move(reason)};
}

// Why a volume that resolved cannot be read, or its open root.
Result<std::optional<os::Dir>> open_root(const ResolvedVolume& volume) {
  auto place = open_place(volume);
  if (!place.ok()) {
    if (place.error().code() == Code::kNotFound) return std::optional<os::Dir>();
    return place.error();
  }
  TRY_ASSIGN(const std::optional<os::Stat> root, place->parent.find(place->name));
  if (!root) return std::optional<os::Dir>();
  TRY_ASSIGN(os::Dir dir, place->parent.open_dir(place->name));
  return std::optional<os::Dir>(std::move(dir));
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

Result<std::string> make_manifest(Core& core,
                                  const std::vector<CaptureRoot>& roots,
                                  const catalog::SnapshotRow& row) {
  nlohmann::json manifest{{"version", kManifestVersion},
                          {"snapshot", row.id},
                          {"consistency", row.consistency},
                          {"created_at", to_iso_ms(row.created_ms)},
                          {"data_generation", row.data_generation},
                          {"volumes", nlohmann::json::array()}};
  nlohmann::json about{{"id", row.workload_id}, {"name", row.workload_name}};
  TRY_ASSIGN(const std::optional<catalog::Workload> workload,
             core.catalog.workloads().find(row.workload_id));
  if (workload) {
    about["kind"] = workload->kind;
    about["config"] = nlohmann::json::parse(workload->config_json, nullptr, false);
    about["public_faces"] = nlohmann::json::parse(workload->faces_json, nullptr, false);
    // Sealed, so that a repository never holds a secret in the clear, whoever reads it.
    const std::string env = nlohmann::json(workload->env).dump();
    about["env_sealed"] = to_base64(core.catalog.sealer().seal(env, "manifest/" + row.id));
  }
  manifest["workload"] = std::move(about);
  for (const CaptureRoot& root : roots) {
    manifest["volumes"].push_back({{"index", root.index},
                                   {"target", root.volume.target},
                                   {"scope", scope_name(root.volume.scope)},
                                   {"source", root.volume.source}});
  }
  return manifest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Reads everything into the repository; fills in the row's volumes and sizes.
Result<repository::PendingSnapshot> archive_roots(Core& core,
                                                  const std::vector<CaptureRoot>& roots,
                                                  catalog::SnapshotRow& row,
                                                  catalog::OperationContext& context) {
  context.phase("capture");
  row.created_ms = wall_ms();
  TRY_ASSIGN(const std::string manifest, make_manifest(core, roots, row));
  std::vector<repository::ArchiveRoot> archive_of;
  for (const CaptureRoot& root : roots) archive_of.push_back({root.index, &root.dir});
  TRY_ASSIGN(repository::PendingSnapshot pending,
             repository::archive(core.repository, manifest, archive_of, nullptr, context,
                                 context.stop_token()));
  row.volumes.clear();
  row.bytes = row.files = 0;
  for (const CaptureRoot& root : roots) {
    catalog::SnapshotVolume volume{.index = root.index,
                                   .target = root.volume.target,
                                   .scope = std::string(scope_name(root.volume.scope)),
                                   .source = root.volume.source};
    for (const repository::RootStats& stats : pending.result.roots) {
      if (stats.index != root.index) continue;
      volume.bytes = stats.bytes;
      volume.files = stats.files;
      if (stats.sockets_skipped != 0) {
        row.warnings.push_back(root.volume.target + ": " + std::to_string(stats.sockets_skipped) +
                               " sockets were skipped");
      }
      for (const std::string& mount : stats.mounts_skipped) {
        row.skipped.push_back({root.volume.target + "/" + mount, volume.scope, "mount_beneath",
                               "another file system is mounted here"});
      }
      row.warnings.insert(row.warnings.end(), stats.warnings.begin(), stats.warnings.end());
    }
    row.bytes += volume.bytes;
    row.files += volume.files;
    row.volumes.push_back(std::move(volume));
  }
  return pending;
}

// packs, index, snapshot durable -> the row says stored. On failure there is no row.
Status commit_row(Core& core,
                  repository::PendingSnapshot pending,
                  catalog::SnapshotRow& row,
                  catalog::OperationContext& context) {
  context.phase("store");
  row.state = os::seeded(os::Bug::kEarlySnapshotRow) ? catalog::SnapshotState::kStored
                                                     : catalog::SnapshotState::kCut;
  TRY(core.catalog.snapshots().insert(row));
  repository::SnapshotMeta meta;
  meta.time = {row.created_ms / 1000, static_cast<std::uint32_t>(row.created_ms % 1000 * 1000000)};
  meta.hostname = row.workload_name;
  meta.username = "cairn";
  meta.tags = {row.id, row.workload_id, "reason:" + std::string(catalog::name_of(row.reason))};
  auto stored = core.repository.commit(std::move(pending), meta);
  if (!stored.ok()) {
    const Status removed = core.catalog.snapshots().remove(row.id);
    if (!removed.ok()) log::warn("remove row {}: {}", row.id, removed.error().message());
    return stored.error().with_context("store the snapshot");
  }
  row.repository_snapshot = stored->hex();
  row.state = catalog::SnapshotState::kStored;
  row.stored_ms = wall_ms();
  return core.catalog.snapshots().update(row);
}

nlohmann::json capture_json(const catalog::SnapshotRow& row,
                            const std::vector<ContainerState>& containers) {
  return {{"consistency", row.consistency},
          {"workload_id", row.workload_id},
          {"containers", to_json(containers)}};
}

// The hold of a paused capture: journal, watcher, pause, read, resume.
Result<repository::PendingSnapshot> archive_paused(Core& core,
                                                   const std::vector<CaptureRoot>& roots,
                                                   const std::vector<ContainerState>& containers,
                                                   catalog::SnapshotRow& row,
                                                   catalog::OperationContext& context) {
  std::vector<ContainerState> running;
  for (const ContainerState& one : containers) {
    if (one.running && !one.paused) running.push_back(one);
  }
  if (running.empty()) return archive_roots(core, roots, row, context);

  TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  TRY_ASSIGN(Journal journal,
             Journal::create(dir, context.id(),
                             {std::string(kCapturing), capture_json(row, running).dump()}, 0));
  context.phase("pause");
  HoldClock clock;
  auto pause = Pause::begin(core, running, settings.max_hold_s * 1000, clock);
  if (!pause.ok()) {
    // A pause that failed half-way may have frozen some: the journal stays unless all of them run.
    TRY(unpause_all(core.engine, running));
    TRY(journal.remove(dir));
    return pause.error();
  }
  auto pending = archive_roots(core, roots, row, context);
  const Status resumed = pause->end(clock);
  row.hold_ms = clock.hold_ms();
  if (!resumed.ok() && resumed.error().code() != Code::kConflict) return resumed.error();
  TRY(journal.remove(dir));
  if (!pending.ok()) return pending.error();
  if (!resumed.ok()) return resumed.error();
  return pending;
}

Status restart(Core& core,
               const std::string& workload_id,
               const std::vector<ContainerState>& containers,
               HoldClock& clock,
               std::stop_token stop) {
  std::vector<ContainerState> ran;
  for (const ContainerState& one : containers) {
    if (one.running) ran.push_back(one);
  }
  TRY_ASSIGN(const bool should_run, core.lifecycle.should_run(workload_id));
  if (should_run && !ran.empty()) {
    TRY(while_engine_is_down(stop, [&]() -> Status {
      auto started = clock.engine([&] { return core.lifecycle.start(workload_id, ran); });
      if (!started.ok()) return started.error();
      return {};
    }));
  }
  return while_engine_is_down(stop, [&] { return put_back(core.engine, containers); });
}

Result<repository::PendingSnapshot> archive_stopped(Core& core,
                                                    const std::vector<CaptureRoot>& roots,
                                                    const std::vector<ContainerState>& containers,
                                                    catalog::SnapshotRow& row,
                                                    catalog::OperationContext& context) {
  const bool any =
      std::ranges::any_of(containers, [](const ContainerState& one) { return one.running; });
  if (!any) return archive_roots(core, roots, row, context);
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  TRY_ASSIGN(Journal journal,
             Journal::create(dir, context.id(),
                             {std::string(kCapturing), capture_json(row, containers).dump()}, 0));
  context.phase("stop");
  HoldClock clock;
  const Status stopped = stop_all(core.engine, containers, clock);
  Result<repository::PendingSnapshot> pending =
      stopped.ok() ? archive_roots(core, roots, row, context)
                   : Result<repository::PendingSnapshot>(stopped.error());
  TRY(restart(core, row.workload_id, containers, clock, context.stop_token()));
  clock.end();
  row.hold_ms = clock.hold_ms();
  TRY(journal.remove(dir));
  return pending;
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
    if (!is_capturable(one.scope)) {
      plan.skipped.push_back(
          skipped(one, "unsupported_scope",
                  "scope " + std::string(scope_name(one.scope)) + " cannot be captured yet"));
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
      plan.skipped.push_back(skipped(one, "unresolved", root.error().message()));
    } else if (!root->has_value()) {
      plan.skipped.push_back(skipped(one, "no_data", "there is no data on disk yet"));
    } else {
      plan.roots.push_back({index++, *volume, std::move(**root)});
    }
  }
  TRY(add_undeclared(core, workload, declared, plan));
  return plan;
}

Result<catalog::SnapshotRow> run_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options,
                                         catalog::OperationContext& context) {
  context.phase("plan");
  TRY_ASSIGN(const CapturePlan plan, plan_capture(core, workload));
  if (plan.roots.empty()) {
    ErrorDetail detail;
    std::string words = "snapshot of " + workload.name + ": there is nothing to capture";
    for (const catalog::SkippedVolume& one : plan.skipped) {
      detail.reasons.push_back({one.target, one.code, one.reason});
      words += "; " + one.target + ": " + one.reason;
    }
    return Error(Code::kRefused, std::move(words), std::move(detail));
  }
  catalog::SnapshotRow row;
  row.id = ids::make(ids::kSnapshot);
  row.workload_id = workload.id;
  row.workload_name = workload.name;
  row.operation_id = context.id();
  row.consistency = consistency_name(options.consistency);
  row.labels = options.labels;
  row.skipped = plan.skipped;
  row.data_generation = workload.data_generation;
  TRY_ASSIGN(const std::optional<catalog::Release> release,
             core.catalog.releases().current(workload.id));
  if (release) row.release_id = release->id;

  TRY_ASSIGN(const std::vector<ContainerState> containers, core.lifecycle.containers(workload.id));
  auto pending = options.consistency == Consistency::kPaused
                     ? archive_paused(core, plan.roots, containers, row, context)
                     : archive_stopped(core, plan.roots, containers, row, context);
  if (!pending.ok()) return pending.error().with_context("snapshot of " + workload.name);
  TRY(commit_row(core, std::move(*pending), row, context));
  tell(core, "snapshot.stored", workload.id, context.id(),
       "snapshot " + row.id + " of " + workload.name + " is stored; the hold was " +
           std::to_string(row.hold_ms) + " ms");
  return row;
}

Status store_capture(Core& core,
                     const std::vector<CaptureRoot>& roots,
                     catalog::SnapshotRow& row,
                     catalog::OperationContext& context) {
  TRY_ASSIGN(repository::PendingSnapshot pending, archive_roots(core, roots, row, context));
  return commit_row(core, std::move(pending), row, context);
}

Status recover_capture(Core& core, const std::string& operation, std::stop_token stop) {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  TRY_ASSIGN(Journal journal, Journal::open(dir, operation));
  const auto json = nlohmann::json::parse(journal.records().front().json, nullptr, false);
  if (!json.is_object() || !json.contains("containers") || !json.contains("workload_id") ||
      !json["workload_id"].is_string() || !json.contains("consistency")) {
    return Error(Code::kCorrupt, "the journal of capture " + operation + " is damaged");
  }
  TRY_ASSIGN(const std::vector<ContainerState> containers, parse_containers(json["containers"]));
  const std::string workload_id = json["workload_id"];
  if (json["consistency"] == consistency_name(Consistency::kStopped)) {
    HoldClock clock;
    TRY(restart(core, workload_id, containers, clock, stop));
  } else if (!os::seeded(os::Bug::kResumeForgotten)) {
    TRY(while_engine_is_down(stop, [&] { return unpause_all(core.engine, containers); }));
  }
  tell(core, "snapshot.recovered", workload_id, operation,
       "an interrupted capture was given up; the workload's containers run as before");
  return journal.remove(dir);
}

Status recover_cut_rows(Core& core) {
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> rows,
             core.catalog.snapshots().list_in(catalog::SnapshotState::kCut));
  if (rows.empty()) return {};
  TRY_ASSIGN(const std::vector<repository::SnapshotInfo> stored, core.repository.snapshots());
  for (catalog::SnapshotRow row : rows) {
    const auto found = std::ranges::find_if(stored, [&row](const repository::SnapshotInfo& one) {
      return std::ranges::find(one.meta.tags, row.id) != one.meta.tags.end();
    });
    if (found == stored.end()) {
      TRY(core.catalog.snapshots().remove(row.id));
      tell(core, "snapshot.recovered", row.workload_id, row.operation_id,
           "snapshot " + row.id + " was cut but not stored when the daemon ended; it is gone");
      continue;
    }
    row.repository_snapshot = found->id.hex();
    row.state = catalog::SnapshotState::kStored;
    row.stored_ms = wall_ms();
    TRY(core.catalog.snapshots().update(row));
    tell(core, "snapshot.recovered", row.workload_id, row.operation_id,
         "snapshot " + row.id + " was stored when the daemon ended");
  }
  return {};
}

}  // namespace cairn::volume
