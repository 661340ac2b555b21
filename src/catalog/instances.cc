#include "catalog/instances.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "catalog/store.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectInstance =
    "SELECT container_name, container_id, workload_id, release_id, role, state, port, created_ms "
    "FROM instances";

Result<Instance> decode_instance(const sqlite::Statement& row) {
  Instance instance;
  instance.container_name = row.text(0);
  instance.container_id = row.text(1);
  instance.workload_id = row.text(2);
  instance.release_id = row.text(3);
  TRY_ASSIGN(instance.role, parse_state<InstanceRole>(row.text(4)));
  TRY_ASSIGN(instance.state, parse_state<InstanceState>(row.text(5)));
  instance.port = static_cast<int>(row.integer(6));
  instance.created_ms = row.integer(7);
  return instance;
}

}  // namespace

Status InstanceTable::insert(const Instance& instance) {
  auto database = store_.lock();
  TRY_CONTEXT(
      database->run("INSERT INTO instances (container_name, container_id, workload_id, "
                    "release_id, role, state, port, created_ms) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    {instance.container_name, instance.container_id, instance.workload_id,
                     instance.release_id, name_of(instance.role), name_of(instance.state),
                     instance.port, instance.created_ms != 0 ? instance.created_ms : wall_ms()}),
      fmt::format("instance {}", instance.container_name));
  return {};
}

Status InstanceTable::update(const Instance& instance) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t changed,
             database->run("UPDATE instances SET container_id = ?, workload_id = ?, "
                           "release_id = ?, role = ?, state = ?, port = ? "
                           "WHERE container_name = ?",
                           {instance.container_id, instance.workload_id, instance.release_id,
                            name_of(instance.role), name_of(instance.state), instance.port,
                            instance.container_name}));
  if (changed == 0) {
    return Error(Code::kNotFound, fmt::format("there is no instance {}", instance.container_name));
  }
  return {};
}

Status InstanceTable::remove(const std::string& container_name) {
  auto database = store_.lock();
  TRY(database->run("DELETE FROM instances WHERE container_name = ?", {container_name}));
  return {};
}

Result<std::optional<Instance>> InstanceTable::find(const std::string& container_name_or_id) {
  // An empty text would match every container that is not created yet.
  if (container_name_or_id.empty()) return std::optional<Instance>();
  auto database = store_.lock();
  return database->first<Instance>(
      fmt::format("{} WHERE container_name = ?1 OR container_id = ?1", kSelectInstance),
      {container_name_or_id}, decode_instance);
}

Result<std::vector<Instance>> InstanceTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  return database->all<Instance>(
      fmt::format("{} WHERE workload_id = ?1 OR ?1 = '' ORDER BY created_ms, container_name",
                  kSelectInstance),
      {workload_id}, decode_instance);
}

}  // namespace cairn::catalog
