#include "catalog/registries.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/strings.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectRegistry =
    "SELECT name, url, user, password_sealed, created_ms, updated_ms FROM registries";

std::string bound_to(const std::string& name) {
  return fmt::format("registries/{}/password", name);
}

struct SealedRegistry {
  Registry registry;
  Bytes password;
};

Result<SealedRegistry> decode_registry(const sqlite::Statement& row) {
  return SealedRegistry{.registry = {.name = row.text(0),
                                     .url = row.text(1),
                                     .user = row.text(2),
                                     .password = {},
                                     .created_ms = row.integer(4),
                                     .updated_ms = row.integer(5)},
                        .password = row.blob(3)};
}

Result<Registry> unseal(const Store& store, SealedRegistry sealed) {
  const std::string& name = sealed.registry.name;
  auto password = store.sealer().open(sealed.password, bound_to(name));
  if (!password.ok()) return password.error().with_context("password of registry " + name);
  sealed.registry.password = std::move(*password);
  return std::move(sealed.registry);
}

Error no_such_registry(const std::string& name) {
  return {Code::kNotFound, "there is no registry " + printable(name)};
}

}  // namespace

Status RegistryTable::set(const Registry& registry) {
  const Bytes password = store_.sealer().seal(registry.password, bound_to(registry.name));
  const std::int64_t now = wall_ms();
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(
      database->run("INSERT INTO registries (name, url, user, password_sealed, created_ms, "
                    "updated_ms) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                    "url = excluded.url, user = excluded.user, "
                    "password_sealed = excluded.password_sealed, updated_ms = excluded.updated_ms",
                    {registry.name, registry.url, registry.user, password, now, now}));
  TRY_ASSIGN(const std::int64_t count,
             database->get_integer("SELECT count(*) FROM registries", {}));
  if (count > static_cast<std::int64_t>(kRegistriesMax)) {
    return Error(Code::kRefused,
                 fmt::format("there are {} registries, the most possible", kRegistriesMax));
  }
  return transaction.commit();
}

Result<std::optional<Registry>> RegistryTable::find(const std::string& name) {
  auto database = store_.lock();
  TRY_ASSIGN(auto sealed,
             database->first<SealedRegistry>(fmt::format("{} WHERE name = ?", kSelectRegistry),
                                             {name}, decode_registry));
  if (!sealed) return std::optional<Registry>();
  TRY_ASSIGN(Registry registry, unseal(store_, std::move(*sealed)));
  return std::optional<Registry>(std::move(registry));
}

Result<Registry> RegistryTable::get(const std::string& name) {
  TRY_ASSIGN(auto registry, find(name));
  if (!registry) return no_such_registry(name);
  return std::move(*registry);
}

Result<std::vector<Registry>> RegistryTable::list() {
  auto database = store_.lock();
  TRY_ASSIGN(auto rows, database->all<SealedRegistry>(
                            fmt::format("{} ORDER BY name", kSelectRegistry), {}, decode_registry));
  std::vector<Registry> registries;
  registries.reserve(rows.size());
  for (SealedRegistry& sealed : rows) {
    TRY_ASSIGN(Registry registry, unseal(store_, std::move(sealed)));
    registries.push_back(std::move(registry));
  }
  return registries;
}

Status RegistryTable::remove(const std::string& name) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t removed,
             database->run("DELETE FROM registries WHERE name = ?", {name}));
  if (removed == 0) return no_such_registry(name);
  return {};
}

}  // namespace cairn::catalog
