#include "catalog/schema.h"

namespace cairn::catalog {

namespace {

constexpr std::int32_t kApplicationId = 0x4341524E;  // "CARN"
constexpr sqlite::SchemaVersion kVersion{.major = 3, .minor = 0};

constexpr std::string_view kAddRegistries =
    "CREATE TABLE registries (name TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, "
    "user TEXT NOT NULL, password_sealed BLOB NOT NULL, created_ms INTEGER NOT NULL, "
    "updated_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID";

constexpr std::string_view kAddContentOfPlaces =
    "ALTER TABLE places ADD COLUMN content TEXT NOT NULL DEFAULT 'new' "
    "CHECK (content IN ('new', 'held'))";

// 2.0: snapshots that were imported. A check cannot be changed in place, so the table is made anew.
constexpr std::string_view kImportedSnapshots =
    "CREATE TABLE snapshots_new ("
    "id TEXT NOT NULL PRIMARY KEY, "
    "workload_id TEXT NOT NULL, "
    "workload_name TEXT NOT NULL, "
    "operation_id TEXT NOT NULL, "
    "state TEXT NOT NULL CHECK (state IN ('cut', 'stored', 'failed')), "
    "reason TEXT NOT NULL CHECK (reason IN ('manual', 'pre_restore', 'import')), "
    "consistency TEXT NOT NULL, "
    "labels_json TEXT NOT NULL, "
    "hold_ms INTEGER NOT NULL, "
    "repository_snapshot TEXT NOT NULL, "
    "bytes INTEGER NOT NULL, "
    "files INTEGER NOT NULL, "
    "volumes_json TEXT NOT NULL, "
    "skipped_json TEXT NOT NULL, "
    "warnings_json TEXT NOT NULL, "
    "data_generation INTEGER NOT NULL, "
    "release_id TEXT NOT NULL, "
    "created_ms INTEGER NOT NULL, "
    "stored_ms INTEGER NOT NULL, "
    "verified_ms INTEGER NOT NULL, "
    "CHECK (state <> 'stored' OR repository_snapshot <> '') "
    ") STRICT; "
    "INSERT INTO snapshots_new SELECT * FROM snapshots; "
    "DROP TABLE snapshots; ALTER TABLE snapshots_new RENAME TO snapshots; "
    "CREATE INDEX snapshots_by_workload ON snapshots (workload_id, created_ms); "
    "CREATE INDEX snapshots_by_repository_snapshot ON snapshots (repository_snapshot)";

// 3.0: snapshots that were adopted.
constexpr std::string_view kAdoptedSnapshots =
    "CREATE TABLE snapshots_new ("
    "id TEXT NOT NULL PRIMARY KEY, "
    "workload_id TEXT NOT NULL, "
    "workload_name TEXT NOT NULL, "
    "operation_id TEXT NOT NULL, "
    "state TEXT NOT NULL CHECK (state IN ('cut', 'stored', 'failed')), "
    "reason TEXT NOT NULL CHECK (reason IN ('manual', 'pre_restore', 'import', 'adopted')), "
    "consistency TEXT NOT NULL, "
    "labels_json TEXT NOT NULL, "
    "hold_ms INTEGER NOT NULL, "
    "repository_snapshot TEXT NOT NULL, "
    "bytes INTEGER NOT NULL, "
    "files INTEGER NOT NULL, "
    "volumes_json TEXT NOT NULL, "
    "skipped_json TEXT NOT NULL, "
    "warnings_json TEXT NOT NULL, "
    "data_generation INTEGER NOT NULL, "
    "release_id TEXT NOT NULL, "
    "created_ms INTEGER NOT NULL, "
    "stored_ms INTEGER NOT NULL, "
    "verified_ms INTEGER NOT NULL, "
    "adopted_from TEXT NOT NULL DEFAULT '', "
    "CHECK (state <> 'stored' OR repository_snapshot <> '') "
    ") STRICT; "
    "INSERT INTO snapshots_new SELECT *, '' FROM snapshots; "
    "DROP TABLE snapshots; ALTER TABLE snapshots_new RENAME TO snapshots; "
    "CREATE INDEX snapshots_by_workload ON snapshots (workload_id, created_ms); "
    "CREATE INDEX snapshots_by_repository_snapshot ON snapshots (repository_snapshot)";

}  // namespace

sqlite::Schema current_schema() {
  return {.application_id = kApplicationId,
          .version = kVersion,
          .create_sql = std::string(schema_sql()),
          .migrations = {{.to = {.major = 1, .minor = 1}, .sql = std::string(kAddRegistries)},
                         {.to = {.major = 1, .minor = 2}, .sql = std::string(kAddContentOfPlaces)},
                         {.to = {.major = 2, .minor = 0}, .sql = std::string(kImportedSnapshots)},
                         {.to = {.major = 3, .minor = 0}, .sql = std::string(kAdoptedSnapshots)}}};
}

}  // namespace cairn::catalog
