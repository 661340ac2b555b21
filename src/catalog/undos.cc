#include "catalog/undos.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "catalog/store.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectUndo =
    "SELECT id, workload_id, workload_name, operation_id, snapshot_id, pre_restore_snapshot, "
    "made_generation, state, expires_ms, volumes_json, created_ms FROM undos";

Result<UndoRow> decode_undo(const sqlite::Statement& row) {
  UndoRow undo;
  undo.id = row.text(0);
  undo.workload_id = row.text(1);
  undo.workload_name = row.text(2);
  undo.operation_id = row.text(3);
  undo.snapshot_id = row.text(4);
  undo.pre_restore_snapshot = row.text(5);
  undo.made_generation = row.integer(6);
  TRY_ASSIGN(undo.state, parse_state<UndoState>(row.text(7)));
  undo.expires_ms = row.integer(8);
  undo.volumes_json = row.text(9);
  undo.created_ms = row.integer(10);
  return undo;
}

Error no_such_undo(std::string_view id) {
  return {Code::kNotFound, fmt::format("there is no undo {}", id)};
}

}  // namespace

Status UndoTable::insert(const UndoRow& row) {
  auto database = store_.lock();
  TRY_CONTEXT(
      database->run(
          "INSERT INTO undos (id, workload_id, workload_name, operation_id, snapshot_id, "
          "pre_restore_snapshot, made_generation, state, expires_ms, volumes_json, "
          "created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
          {row.id, row.workload_id, row.workload_name, row.operation_id, row.snapshot_id,
           row.pre_restore_snapshot, row.made_generation, name_of(row.state), row.expires_ms,
           row.volumes_json, row.created_ms != 0 ? row.created_ms : wall_ms()}),
      fmt::format("undo {}", row.id));
  return {};
}

Status UndoTable::update(const UndoRow& row) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t changed,
             database->run("UPDATE undos SET workload_id = ?, workload_name = ?, "
                           "operation_id = ?, snapshot_id = ?, pre_restore_snapshot = ?, "
                           "made_generation = ?, state = ?, expires_ms = ?, volumes_json = ? "
                           "WHERE id = ?",
                           {row.workload_id, row.workload_name, row.operation_id, row.snapshot_id,
                            row.pre_restore_snapshot, row.made_generation, name_of(row.state),
                            row.expires_ms, row.volumes_json, row.id}));
  if (changed == 0) return no_such_undo(row.id);
  return {};
}

Result<std::optional<UndoRow>> UndoTable::find(const std::string& id) {
  auto database = store_.lock();
  return database->first<UndoRow>(fmt::format("{} WHERE id = ?", kSelectUndo), {id}, decode_undo);
}

Result<std::optional<UndoRow>> UndoTable::find_by_operation(const std::string& operation_id) {
  auto database = store_.lock();
  return database->first<UndoRow>(fmt::format("{} WHERE operation_id = ?", kSelectUndo),
                                  {operation_id}, decode_undo);
}

Result<std::vector<UndoRow>> UndoTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  return database->all<UndoRow>(
      fmt::format("{} WHERE workload_id = ?1 OR ?1 = '' ORDER BY created_ms DESC, id DESC",
                  kSelectUndo),
      {workload_id}, decode_undo);
}

Result<std::vector<UndoRow>> UndoTable::list_expired(std::int64_t now_ms) {
  auto database = store_.lock();
  return database->all<UndoRow>(
      fmt::format("{} WHERE state = 'available' AND expires_ms <> 0 AND expires_ms <= ? "
                  "ORDER BY expires_ms, id",
                  kSelectUndo),
      {now_ms}, decode_undo);
}

Status UndoTable::remove(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t removed, database->run("DELETE FROM undos WHERE id = ?", {id}));
  if (removed == 0) return no_such_undo(id);
  return {};
}

}  // namespace cairn::catalog
