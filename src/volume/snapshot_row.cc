#include "volume/snapshot_row.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "codec/sealer.h"
#include "os/fault.h"
#include "volume/manifest.h"

namespace cairn::volume {

Result<std::string> make_manifest(Core& core, const catalog::SnapshotRow& row) {
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
  for (const catalog::SnapshotVolume& volume : row.volumes) {
    manifest["volumes"].push_back({{"index", volume.index},
                                   {"target", volume.target},
                                   {"scope", volume.scope},
                                   {"source", volume.source}});
  }
  return manifest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

repository::SnapshotMeta meta_of(const catalog::SnapshotRow& row) {
  repository::SnapshotMeta meta;
  meta.time = {row.created_ms / 1000, static_cast<std::uint32_t>(row.created_ms % 1000 * 1000000)};
  meta.hostname = row.workload_name;
  meta.username = "cairn";
  meta.tags = {row.id, row.workload_id, "reason:" + std::string(catalog::name_of(row.reason))};
  return meta;
}

Status insert_cut_row(Core& core, catalog::SnapshotRow& row) {
  row.state = os::seeded(os::Bug::kEarlySnapshotRow) ? catalog::SnapshotState::kStored
                                                     : catalog::SnapshotState::kCut;
  return core.catalog.snapshots().insert(row);
}

Status commit_row(Core& core,
                  Result<repository::PendingSnapshot> pending,
                  const repository::SnapshotMeta& meta,
                  catalog::SnapshotRow& row) {
  auto stored = pending.ok() ? core.repository.commit(std::move(*pending), meta)
                             : Result<repository::Id>(pending.error());
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

}  // namespace cairn::volume
