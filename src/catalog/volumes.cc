#include "catalog/volumes.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "catalog/store.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectVolume =
    "SELECT workload_id, target, source, scope, name, updated_ms FROM volumes";

Result<VolumeRow> decode_volume(const sqlite::Statement& row) {
  return VolumeRow{.workload_id = row.text(0),
                   .target = row.text(1),
                   .source = row.text(2),
                   .scope = row.text(3),
                   .name = row.text(4),
                   .updated_ms = row.integer(5)};
}

}  // namespace

Status VolumeTable::set(const VolumeRow& row) {
  auto database = store_.lock();
  const auto stored = database->run(
      "INSERT INTO volumes (workload_id, target, source, scope, name, updated_ms) "
      "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (workload_id, target) DO UPDATE SET "
      "source = excluded.source, scope = excluded.scope, name = excluded.name, "
      "updated_ms = excluded.updated_ms",
      {row.workload_id, row.target, row.source, row.scope, row.name, wall_ms()});
  if (stored.ok()) return {};
  // The one foreign key of this table.
  if (stored.error().code() == Code::kConflict) {
    return Error(Code::kNotFound, fmt::format("there is no workload {}", row.workload_id));
  }
  return stored.error();
}

Status VolumeTable::unset(const std::string& workload_id, const std::string& target) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t removed,
             database->run("DELETE FROM volumes WHERE workload_id = ? AND target = ?",
                           {workload_id, target}));
  if (removed == 0) {
    return Error(Code::kNotFound, fmt::format("no volume was set for {}", target));
  }
  return {};
}

Result<std::optional<VolumeRow>> VolumeTable::find(const std::string& workload_id,
                                                   const std::string& target) {
  auto database = store_.lock();
  return database->first<VolumeRow>(
      fmt::format("{} WHERE workload_id = ? AND target = ?", kSelectVolume), {workload_id, target},
      decode_volume);
}

Result<std::vector<VolumeRow>> VolumeTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  return database->all<VolumeRow>(
      fmt::format("{} WHERE workload_id = ? ORDER BY target", kSelectVolume), {workload_id},
      decode_volume);
}

}  // namespace cairn::catalog
