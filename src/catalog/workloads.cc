#include "catalog/workloads.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/strings.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kTable = "workloads";
constexpr std::string_view kSelectWorkload =
    "SELECT id, name, kind, config_json, env_sealed, faces_json, desired, data_generation, "
    "env_version, config_version, created_ms, updated_ms FROM workloads";

// A row as stored; the env is opened by the table, which has the key.
struct SealedWorkload {
  Workload workload;
  Bytes env;
};

Result<SealedWorkload> decode_workload(const sqlite::Statement& row) {
  SealedWorkload sealed;
  Workload& workload = sealed.workload;
  workload.id = row.text(0);
  workload.name = row.text(1);
  workload.kind = row.text(2);
  workload.config_json = row.text(3);
  sealed.env = row.blob(4);
  workload.faces_json = row.text(5);
  TRY_ASSIGN(workload.desired, parse_state<Desired>(row.text(6)));
  workload.data_generation = row.integer(7);
  workload.env_version = row.integer(8);
  workload.config_version = row.integer(9);
  workload.created_ms = row.integer(10);
  workload.updated_ms = row.integer(11);
  return sealed;
}

Result<Workload> unseal(const Store& store, SealedWorkload sealed) {
  TRY_ASSIGN(sealed.workload.env, store.open_env(kTable, sealed.workload.id, sealed.env));
  return std::move(sealed.workload);
}

Error no_such_workload(std::string_view id_or_name) {
  return {Code::kNotFound, fmt::format("there is no workload {}", printable(id_or_name))};
}

Status must_change(const Result<std::int64_t>& changed, const std::string& id) {
  if (!changed.ok()) return changed.error();
  if (*changed == 0) return no_such_workload(id);
  return {};
}

}  // namespace

Status WorkloadTable::insert(const Workload& workload) {
  const std::int64_t now = wall_ms();
  const std::int64_t created = workload.created_ms != 0 ? workload.created_ms : now;
  const std::int64_t updated = workload.updated_ms != 0 ? workload.updated_ms : created;
  const Bytes env = store_.seal_env(kTable, workload.id, workload.env);
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY_ASSIGN(const std::int64_t count, database->get_integer("SELECT count(*) FROM workloads", {}));
  if (count >= static_cast<std::int64_t>(kWorkloadsMax)) {
    return Error(Code::kRefused, fmt::format("there are {} workloads, the most possible", count));
  }
  const auto inserted = database->run(
      "INSERT INTO workloads (id, name, kind, config_json, env_sealed, faces_json, desired, "
      "data_generation, env_version, config_version, created_ms, updated_ms) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {workload.id, workload.name, workload.kind, workload.config_json, env, workload.faces_json,
       name_of(workload.desired), workload.data_generation, workload.env_version,
       workload.config_version, created, updated});
  if (!inserted.ok() && inserted.error().code() == Code::kExists) {
    return Error(Code::kExists, fmt::format("a workload {} exists", workload.name));
  }
  if (!inserted.ok()) return inserted.error();
  return transaction.commit();
}

Result<Workload> WorkloadTable::update_config(const std::string& id, const Change& change) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY_ASSIGN(Workload workload, get(id));
  const bool env_differs = workload.env != change.env;
  if (!env_differs && workload.config_json == change.config_json &&
      workload.faces_json == change.faces_json) {
    return workload;
  }
  workload.config_json = change.config_json;
  workload.env = change.env;
  workload.faces_json = change.faces_json;
  workload.config_version += 1;
  workload.env_version += env_differs ? 1 : 0;
  workload.updated_ms = wall_ms();
  const Bytes env = store_.seal_env(kTable, workload.id, workload.env);
  TRY(database->run(
      "UPDATE workloads SET config_json = ?, env_sealed = ?, faces_json = ?, config_version = ?, "
      "env_version = ?, updated_ms = ? WHERE id = ?",
      {workload.config_json, env, workload.faces_json, workload.config_version,
       workload.env_version, workload.updated_ms, workload.id}));
  TRY(transaction.commit());
  return workload;
}

Result<std::optional<Workload>> WorkloadTable::find(const std::string& id_or_name) {
  auto database = store_.lock();
  // A name cannot look like an id (it has no "_"), so at most one row matches.
  TRY_ASSIGN(auto sealed, database->first<SealedWorkload>(
                              fmt::format("{} WHERE id = ? OR name = ?", kSelectWorkload),
                              {id_or_name, id_or_name}, decode_workload));
  if (!sealed) return std::optional<Workload>();
  TRY_ASSIGN(Workload workload, unseal(store_, std::move(*sealed)));
  return std::optional<Workload>(std::move(workload));
}

Result<Workload> WorkloadTable::get(const std::string& id_or_name) {
  TRY_ASSIGN(auto workload, find(id_or_name));
  if (!workload) return no_such_workload(id_or_name);
  return std::move(*workload);
}

Result<std::vector<Workload>> WorkloadTable::list() {
  auto database = store_.lock();
  TRY_ASSIGN(auto rows, database->all<SealedWorkload>(
                            fmt::format("{} ORDER BY name", kSelectWorkload), {}, decode_workload));
  std::vector<Workload> workloads;
  workloads.reserve(rows.size());
  for (SealedWorkload& sealed : rows) {
    TRY_ASSIGN(Workload workload, unseal(store_, std::move(sealed)));
    workloads.push_back(std::move(workload));
  }
  return workloads;
}

Status WorkloadTable::set_desired(const std::string& id, Desired desired) {
  auto database = store_.lock();
  return must_change(database->run("UPDATE workloads SET desired = ?, updated_ms = ? WHERE id = ?",
                                   {name_of(desired), wall_ms(), id}),
                     id);
}

Result<std::int64_t> WorkloadTable::bump_generation(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(must_change(
      database->run("UPDATE workloads SET data_generation = data_generation + 1 WHERE id = ?",
                    {id}),
      id));
  TRY_ASSIGN(const std::int64_t generation,
             database->get_integer("SELECT data_generation FROM workloads WHERE id = ?", {id}));
  TRY(transaction.commit());
  return generation;
}

Status WorkloadTable::raise_generation(const std::string& id, std::int64_t at_least) {
  auto database = store_.lock();
  return must_change(
      database->run("UPDATE workloads SET data_generation = max(data_generation, ?) WHERE id = ?",
                    {at_least, id}),
      id);
}

Status WorkloadTable::remove(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY_ASSIGN(const std::int64_t instances,
             database->get_integer("SELECT count(*) FROM instances WHERE workload_id = ? AND role "
                                   "= 'instance'",
                                   {id}));
  if (instances != 0) {
    return Error(Code::kConflict,
                 fmt::format("workload {} still has {} containers", id, instances));
  }
  TRY(must_change(database->run("DELETE FROM workloads WHERE id = ?", {id}), id));
  return transaction.commit();
}

}  // namespace cairn::catalog
