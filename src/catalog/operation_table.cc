// The rows of operations; operations.cc has the threads.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "catalog/error_json.h"
#include "catalog/json.h"
#include "catalog/operations.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectOperation =
    "SELECT id, kind, workload_id, actor, state, phase, bytes_done, bytes_total, items_done, "
    "items_total, result_json, error_json, warnings_json, started_ms, finished_ms FROM operations";

Result<OperationRow> decode_operation(const sqlite::Statement& row) {
  OperationRow operation;
  operation.id = row.text(0);
  operation.kind = row.text(1);
  operation.workload_id = row.text(2);
  operation.actor = row.text(3);
  TRY_ASSIGN(operation.state, parse_state<OperationState>(row.text(4)));
  operation.phase = row.text(5);
  operation.progress = {.bytes_done = row.size(6),
                        .bytes_total = row.size(7),
                        .items_done = row.size(8),
                        .items_total = row.size(9)};
  operation.result_json = row.text(10);
  operation.error_json = row.text(11);
  TRY_ASSIGN(operation.warnings, parse_text_list(row.text(12), "warnings of an operation"));
  operation.started_ms = row.integer(13);
  operation.finished_ms = row.integer(14);
  return operation;
}

Status trim(sqlite::Database& database) {
  TRY(
      database.run("DELETE FROM operations WHERE id IN (SELECT id FROM operations "
                   "WHERE state <> 'running' ORDER BY id DESC LIMIT -1 OFFSET ?)",
                   {kOperationsFinishedMax}));
  return {};
}

}  // namespace

Result<std::string> outcome(const OperationRow& row) {
  switch (row.state) {
    case OperationState::kRunning:
      return Error(Code::kBusy, fmt::format("operation {} still runs", row.id));
    case OperationState::kDone:
      return row.result_json;
    case OperationState::kFailed:
    case OperationState::kCancelled:
    case OperationState::kInterrupted:
      return error_from_json(row.error_json);
  }
  CHECK(false);
}

Status OperationTable::insert(const OperationRow& row) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY_CONTEXT(database->run("INSERT INTO operations (id, kind, workload_id, actor, state, phase, "
                            "bytes_done, bytes_total, items_done, items_total, result_json, "
                            "error_json, warnings_json, started_ms, finished_ms) "
                            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            {row.id, row.kind, row.workload_id, row.actor, name_of(row.state),
                             row.phase, row.progress.bytes_done, row.progress.bytes_total,
                             row.progress.items_done, row.progress.items_total, row.result_json,
                             row.error_json, dump(row.warnings), row.started_ms, row.finished_ms}),
              fmt::format("operation {}", row.id));
  TRY(trim(*database));
  return transaction.commit();
}

Status OperationTable::update(const OperationRow& row) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t changed,
             database->run(
                 "UPDATE operations SET workload_id = ?, state = ?, phase = ?, "
                 "bytes_done = ?, bytes_total = ?, items_done = ?, items_total = ?, "
                 "result_json = ?, error_json = ?, warnings_json = ?, finished_ms = ? "
                 "WHERE id = ?",
                 {row.workload_id, name_of(row.state), row.phase, row.progress.bytes_done,
                  row.progress.bytes_total, row.progress.items_done, row.progress.items_total,
                  row.result_json, row.error_json, dump(row.warnings), row.finished_ms, row.id}));
  if (changed == 0) {
    return Error(Code::kNotFound, fmt::format("there is no operation {}", row.id));
  }
  return {};
}

Status OperationTable::note_progress(const OperationRow& row) {
  auto database = store_.lock();
  // A sync here would compete with those of the operation itself. The next durable commit covers
  // this one too, since the WAL is synced from its start.
  if (database->in_transaction()) return {};
  TRY(database->set_sync(sqlite::Database::Sync::kOrdered));
  const auto noted = database->run(
      "UPDATE operations SET phase = ?, bytes_done = ?, bytes_total = ?, items_done = ?, "
      "items_total = ?, warnings_json = ? WHERE id = ? AND state = 'running'",
      {row.phase, row.progress.bytes_done, row.progress.bytes_total, row.progress.items_done,
       row.progress.items_total, dump(row.warnings), row.id});
  // Without it no later write would be durable: that must not go unseen.
  const Status durable_again = database->set_sync(sqlite::Database::Sync::kDurable);
  CHECK(durable_again.ok());
  if (!noted.ok()) return noted.error();
  return {};
}

Result<std::optional<OperationRow>> OperationTable::find(const std::string& id) {
  auto database = store_.lock();
  return database->first<OperationRow>(fmt::format("{} WHERE id = ?", kSelectOperation), {id},
                                       decode_operation);
}

Result<std::vector<OperationRow>> OperationTable::list(const std::string& workload_id,
                                                       std::int64_t limit) {
  auto database = store_.lock();
  return database->all<OperationRow>(
      fmt::format("{} WHERE workload_id = ?1 OR ?1 = '' ORDER BY id DESC LIMIT ?2",
                  kSelectOperation),
      {workload_id, std::clamp<std::int64_t>(limit, 0, kOperationsPerListMax)}, decode_operation);
}

Result<std::vector<OperationRow>> OperationTable::interrupt_running() {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY_ASSIGN(auto rows, database->all<OperationRow>(
                            fmt::format("{} WHERE state = 'running' ORDER BY id", kSelectOperation),
                            {}, decode_operation));
  for (OperationRow& row : rows) {
    row.state = OperationState::kInterrupted;
    row.finished_ms = wall_ms();
    row.error_json = dump(error_to_json(
        {Code::kUnavailable,
         fmt::format("cairnd ended during the operation{}{}",
                     row.phase.empty() ? "" : ", at the latest known phase ", row.phase)}));
    TRY(update(row));
  }
  TRY(transaction.commit());
  return rows;
}

}  // namespace cairn::catalog
