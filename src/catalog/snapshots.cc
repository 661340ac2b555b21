#include "catalog/snapshots.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "catalog/json.h"
#include "catalog/store.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectSnapshot =
    "SELECT id, workload_id, workload_name, operation_id, state, reason, consistency, labels_json, "
    "hold_ms, repository_snapshot, bytes, files, volumes_json, skipped_json, warnings_json, "
    "data_generation, release_id, created_ms, stored_ms, verified_ms, adopted_from FROM snapshots";

std::string to_json(const std::vector<SnapshotVolume>& volumes) {
  nlohmann::json list = nlohmann::json::array();
  for (const SnapshotVolume& volume : volumes) {
    list.push_back({{"index", volume.index},
                    {"target", volume.target},
                    {"scope", volume.scope},
                    {"source", volume.source},
                    {"bytes", volume.bytes},
                    {"files", volume.files},
                    {"walked", volume.walked},
                    {"changed_files", volume.changed_files},
                    {"changed_bytes", volume.changed_bytes}});
  }
  return dump(list);
}

std::string to_json(const std::vector<SkippedVolume>& skipped) {
  nlohmann::json list = nlohmann::json::array();
  for (const SkippedVolume& volume : skipped) {
    list.push_back({{"target", volume.target},
                    {"scope", volume.scope},
                    {"code", volume.code},
                    {"reason", volume.reason}});
  }
  return dump(list);
}

Result<std::vector<SnapshotVolume>> parse_volumes(const std::string& text) {
  TRY_ASSIGN(const auto records, parse_record_list(text, "volumes of a snapshot"));
  std::vector<SnapshotVolume> volumes;
  volumes.reserve(records.size());
  for (const nlohmann::json& record : records) {
    volumes.push_back({.index = static_cast<int>(field_integer(record, "index")),
                       .target = field_text(record, "target"),
                       .scope = field_text(record, "scope"),
                       .source = field_text(record, "source"),
                       .bytes = field_size(record, "bytes"),
                       .files = field_size(record, "files"),
                       .walked = field_size(record, "walked"),
                       .changed_files = field_size(record, "changed_files"),
                       .changed_bytes = field_size(record, "changed_bytes")});
  }
  return volumes;
}

Result<std::vector<SkippedVolume>> parse_skipped(const std::string& text) {
  TRY_ASSIGN(const auto records, parse_record_list(text, "skipped volumes of a snapshot"));
  std::vector<SkippedVolume> skipped;
  skipped.reserve(records.size());
  for (const nlohmann::json& record : records) {
    skipped.push_back({.target = field_text(record, "target"),
                       .scope = field_text(record, "scope"),
                       .code = field_text(record, "code"),
                       .reason = field_text(record, "reason")});
  }
  return skipped;
}

Result<SnapshotRow> decode_snapshot(const sqlite::Statement& row) {
  SnapshotRow snapshot;
  snapshot.id = row.text(0);
  snapshot.workload_id = row.text(1);
  snapshot.workload_name = row.text(2);
  snapshot.operation_id = row.text(3);
  TRY_ASSIGN(snapshot.state, parse_state<SnapshotState>(row.text(4)));
  TRY_ASSIGN(snapshot.reason, parse_state<SnapshotReason>(row.text(5)));
  snapshot.consistency = row.text(6);
  TRY_ASSIGN(snapshot.labels, parse_text_record(row.text(7), "labels of a snapshot"));
  snapshot.hold_ms = row.integer(8);
  snapshot.repository_snapshot = row.text(9);
  snapshot.bytes = row.size(10);
  snapshot.files = row.size(11);
  TRY_ASSIGN(snapshot.volumes, parse_volumes(row.text(12)));
  TRY_ASSIGN(snapshot.skipped, parse_skipped(row.text(13)));
  TRY_ASSIGN(snapshot.warnings, parse_text_list(row.text(14), "warnings of a snapshot"));
  snapshot.data_generation = row.integer(15);
  snapshot.release_id = row.text(16);
  snapshot.created_ms = row.integer(17);
  snapshot.stored_ms = row.integer(18);
  snapshot.verified_ms = row.integer(19);
  snapshot.adopted_from = row.text(20);
  return snapshot;
}

Error no_such_snapshot(std::string_view id) {
  return {Code::kNotFound, fmt::format("there is no snapshot {}", id)};
}

}  // namespace

Status SnapshotTable::insert(const SnapshotRow& row) {
  auto database = store_.lock();
  TRY_CONTEXT(
      database->run(
          "INSERT INTO snapshots (id, workload_id, workload_name, operation_id, state, reason, "
          "consistency, labels_json, hold_ms, repository_snapshot, bytes, files, volumes_json, "
          "skipped_json, warnings_json, data_generation, release_id, created_ms, stored_ms, "
          "verified_ms, adopted_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
          "?, ?, ?, "
          "?)",
          {row.id,
           row.workload_id,
           row.workload_name,
           row.operation_id,
           name_of(row.state),
           name_of(row.reason),
           row.consistency,
           dump(row.labels),
           row.hold_ms,
           row.repository_snapshot,
           row.bytes,
           row.files,
           to_json(row.volumes),
           to_json(row.skipped),
           dump(row.warnings),
           row.data_generation,
           row.release_id,
           row.created_ms != 0 ? row.created_ms : wall_ms(),
           row.stored_ms,
           row.verified_ms,
           row.adopted_from}),
      fmt::format("snapshot {}", row.id));
  return {};
}

Status SnapshotTable::update(const SnapshotRow& row) {
  auto database = store_.lock();
  const auto changed = database->run(
      "UPDATE snapshots SET workload_id = ?, workload_name = ?, operation_id = ?, state = ?, "
      "reason = ?, consistency = ?, labels_json = ?, hold_ms = ?, repository_snapshot = ?, "
      "bytes = ?, files = ?, volumes_json = ?, skipped_json = ?, warnings_json = ?, "
      "data_generation = ?, release_id = ?, stored_ms = ?, verified_ms = ?, adopted_from = ? WHERE "
      "id = ?",
      {row.workload_id,         row.workload_name,  row.operation_id,    name_of(row.state),
       name_of(row.reason),     row.consistency,    dump(row.labels),    row.hold_ms,
       row.repository_snapshot, row.bytes,          row.files,           to_json(row.volumes),
       to_json(row.skipped),    dump(row.warnings), row.data_generation, row.release_id,
       row.stored_ms,           row.verified_ms,    row.adopted_from,    row.id});
  if (!changed.ok()) return changed.error().with_context(fmt::format("snapshot {}", row.id));
  if (*changed == 0) return no_such_snapshot(row.id);
  return {};
}

Result<std::optional<SnapshotRow>> SnapshotTable::find(const std::string& id) {
  auto database = store_.lock();
  return database->first<SnapshotRow>(fmt::format("{} WHERE id = ?", kSelectSnapshot), {id},
                                      decode_snapshot);
}

Result<std::optional<SnapshotRow>> SnapshotTable::find_by_repository_snapshot(
    const std::string& id) {
  // Rows that are not stored yet have an empty one.
  if (id.empty()) return std::optional<SnapshotRow>();
  auto database = store_.lock();
  return database->first<SnapshotRow>(
      fmt::format("{} WHERE repository_snapshot = ?", kSelectSnapshot), {id}, decode_snapshot);
}

Result<std::vector<SnapshotRow>> SnapshotTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  return database->all<SnapshotRow>(
      fmt::format("{} WHERE workload_id = ?1 OR ?1 = '' ORDER BY created_ms DESC, id DESC",
                  kSelectSnapshot),
      {workload_id}, decode_snapshot);
}

Result<std::vector<SnapshotRow>> SnapshotTable::list_in(SnapshotState state) {
  auto database = store_.lock();
  return database->all<SnapshotRow>(
      fmt::format("{} WHERE state = ? ORDER BY created_ms DESC, id DESC", kSelectSnapshot),
      {name_of(state)}, decode_snapshot);
}

Status SnapshotTable::remove(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t removed, database->run("DELETE FROM snapshots WHERE id = ?", {id}));
  if (removed == 0) return no_such_snapshot(id);
  return {};
}

}  // namespace cairn::catalog
