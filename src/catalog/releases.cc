#include "catalog/releases.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "catalog/json.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kTable = "releases";
constexpr std::string_view kSelectRelease =
    "SELECT id, workload_id, image, image_id, digest, tag, config_json, env_sealed, env_version, "
    "config_version, data_generation, volumes_json, faces_json, mounts_json, state, operation_id, "
    "created_ms, finished_ms FROM releases";

struct SealedRelease {
  Release release;
  Bytes env;
};

std::string to_json(const std::vector<ReleaseMount>& mounts) {
  nlohmann::json list = nlohmann::json::array();
  for (const ReleaseMount& mount : mounts) {
    list.push_back({{"target", mount.target},
                    {"scope", mount.scope},
                    {"kind", name_of(mount.kind)},
                    {"place", mount.place}});
  }
  return dump(list);
}

Result<std::vector<ReleaseMount>> parse_mounts(const std::string& text) {
  TRY_ASSIGN(const auto records, parse_record_list(text, "mounts of a release"));
  std::vector<ReleaseMount> mounts;
  for (const nlohmann::json& record : records) {
    ReleaseMount mount{.target = field_text(record, "target"),
                       .scope = field_text(record, "scope"),
                       .kind = PlaceKind::kBind,
                       .place = field_text(record, "place")};
    TRY_ASSIGN(mount.kind, parse_state<PlaceKind>(field_text(record, "kind")));
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

Result<SealedRelease> decode_release(const sqlite::Statement& row) {
  SealedRelease sealed;
  Release& release = sealed.release;
  release.id = row.text(0);
  release.workload_id = row.text(1);
  release.image = row.text(2);
  release.image_id = row.text(3);
  release.digest = row.text(4);
  release.tag = row.text(5);
  release.config_json = row.text(6);
  sealed.env = row.blob(7);
  release.env_version = row.integer(8);
  release.config_version = row.integer(9);
  release.data_generation = row.integer(10);
  release.volumes_json = row.text(11);
  release.faces_json = row.text(12);
  TRY_ASSIGN(release.mounts, parse_mounts(row.text(13)));
  TRY_ASSIGN(release.state, parse_state<ReleaseState>(row.text(14)));
  release.operation_id = row.text(15);
  release.created_ms = row.integer(16);
  release.finished_ms = row.integer(17);
  return sealed;
}

Result<Release> unseal(const Store& store, SealedRelease sealed) {
  TRY_ASSIGN(sealed.release.env, store.open_env(kTable, sealed.release.id, sealed.env));
  return std::move(sealed.release);
}

Result<std::vector<Release>> unseal_all(const Store& store, std::vector<SealedRelease> rows) {
  std::vector<Release> releases;
  releases.reserve(rows.size());
  for (SealedRelease& sealed : rows) {
    TRY_ASSIGN(Release release, unseal(store, std::move(sealed)));
    releases.push_back(std::move(release));
  }
  return releases;
}

Error no_such_release(std::string_view id) {
  return {Code::kNotFound, fmt::format("there is no release {}", id)};
}

Status trim(sqlite::Database& database, const std::string& workload_id) {
  TRY(
      database.run("DELETE FROM releases WHERE id IN (SELECT id FROM releases "
                   "WHERE workload_id = ? AND state IN ('retired', 'failed') "
                   "AND id NOT IN (SELECT release_id FROM instances) "
                   "ORDER BY created_ms DESC, id DESC LIMIT -1 OFFSET ?)",
                   {workload_id, kReleasesPerWorkloadMax}));
  return {};
}

}  // namespace

Status ReleaseTable::insert(const Release& release) {
  const Bytes env = store_.seal_env(kTable, release.id, release.env);
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  const auto inserted = database->run(
      "INSERT INTO releases (id, workload_id, image, image_id, digest, tag, config_json, "
      "env_sealed, env_version, config_version, data_generation, volumes_json, faces_json, "
      "mounts_json, state, operation_id, created_ms, finished_ms) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {release.id, release.workload_id, release.image, release.image_id, release.digest,
       release.tag, release.config_json, env, release.env_version, release.config_version,
       release.data_generation, release.volumes_json, release.faces_json, to_json(release.mounts),
       name_of(release.state), release.operation_id,
       release.created_ms != 0 ? release.created_ms : wall_ms(), release.finished_ms});
  if (!inserted.ok() && inserted.error().code() == Code::kConflict) {
    return Error(Code::kNotFound, fmt::format("there is no workload {}", release.workload_id));
  }
  if (!inserted.ok()) return inserted.error().with_context(release.id);
  TRY(trim(*database, release.workload_id));
  return transaction.commit();
}

Status ReleaseTable::update(const Release& release) {
  const Bytes env = store_.seal_env(kTable, release.id, release.env);
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t changed,
             database->run(
                 "UPDATE releases SET image = ?, image_id = ?, digest = ?, tag = ?, "
                 "config_json = ?, env_sealed = ?, env_version = ?, config_version = ?, "
                 "data_generation = ?, volumes_json = ?, faces_json = ?, mounts_json = ?, "
                 "state = ?, operation_id = ?, finished_ms = ? WHERE id = ?",
                 {release.image, release.image_id, release.digest, release.tag, release.config_json,
                  env, release.env_version, release.config_version, release.data_generation,
                  release.volumes_json, release.faces_json, to_json(release.mounts),
                  name_of(release.state), release.operation_id, release.finished_ms, release.id}));
  if (changed == 0) return no_such_release(release.id);
  return {};
}

Status ReleaseTable::set_state(const std::string& id, ReleaseState state) {
  auto database = store_.lock();
  TRY_ASSIGN(const std::int64_t changed,
             database->run("UPDATE releases SET state = ?1, finished_ms = CASE WHEN finished_ms = "
                           "0 AND ?1 <> 'deploying' THEN ?2 ELSE finished_ms END WHERE id = ?3",
                           {name_of(state), wall_ms(), id}));
  if (changed == 0) return no_such_release(id);
  return {};
}

Status ReleaseTable::promote(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(set_state(id, ReleaseState::kRunning));
  TRY(
      database->run("UPDATE releases SET state = 'retired' WHERE state IN ('running', 'stopped') "
                    "AND id <> ?1 AND workload_id = "
                    "(SELECT workload_id FROM releases WHERE id = ?1)",
                    {id}));
  return transaction.commit();
}

Result<std::optional<Release>> ReleaseTable::find(const std::string& id) {
  auto database = store_.lock();
  TRY_ASSIGN(auto sealed,
             database->first<SealedRelease>(fmt::format("{} WHERE id = ?", kSelectRelease), {id},
                                            decode_release));
  if (!sealed) return std::optional<Release>();
  TRY_ASSIGN(Release release, unseal(store_, std::move(*sealed)));
  return std::optional<Release>(std::move(release));
}

Result<std::optional<Release>> ReleaseTable::current(const std::string& workload_id) {
  auto database = store_.lock();
  TRY_ASSIGN(auto sealed,
             database->first<SealedRelease>(
                 fmt::format("{} WHERE workload_id = ? AND state IN ('running', 'stopped') "
                             "ORDER BY state, created_ms DESC, id DESC LIMIT 1",
                             kSelectRelease),
                 {workload_id}, decode_release));
  if (!sealed) return std::optional<Release>();
  TRY_ASSIGN(Release release, unseal(store_, std::move(*sealed)));
  return std::optional<Release>(std::move(release));
}

Result<std::vector<Release>> ReleaseTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  TRY_ASSIGN(
      auto rows,
      database->all<SealedRelease>(
          fmt::format("{} WHERE workload_id = ? ORDER BY created_ms DESC, id DESC", kSelectRelease),
          {workload_id}, decode_release));
  return unseal_all(store_, std::move(rows));
}

Result<std::vector<Release>> ReleaseTable::list_in(ReleaseState state) {
  auto database = store_.lock();
  TRY_ASSIGN(auto rows, database->all<SealedRelease>(
                            fmt::format("{} WHERE state = ? ORDER BY created_ms DESC, id DESC",
                                        kSelectRelease),
                            {name_of(state)}, decode_release));
  return unseal_all(store_, std::move(rows));
}

}  // namespace cairn::catalog
