#include "sqlite/migration.h"

#include <fmt/format.h>

#include "sqlite/transaction.h"

namespace cairn::sqlite {

namespace {

SchemaVersion from_user_version(std::int64_t value) {
  return {.major = static_cast<int>(value / kMinorVersionsMax),
          .minor = static_cast<int>(value % kMinorVersionsMax)};
}

Status set_version(Database& database, const Schema& schema) {
  // PRAGMA takes no bound values; both are integers. They are part of the transaction.
  return database.execute(
      fmt::format("PRAGMA application_id={}; PRAGMA user_version={}", schema.application_id,
                  schema.version.major * kMinorVersionsMax + schema.version.minor));
}

Status create(Database& database, const Schema& schema) {
  TRY_ASSIGN(Transaction transaction, Transaction::begin(database));
  TRY_CONTEXT(database.execute(schema.create_sql), "make the schema");
  TRY(set_version(database, schema));
  return transaction.commit();
}

Status run_migrations(Database& database, const Schema& schema, SchemaVersion from) {
  TRY_ASSIGN(Transaction transaction, Transaction::begin(database));
  for (const Migration& migration : schema.migrations) {
    if (migration.to <= from) continue;
    TRY_CONTEXT(database.execute(migration.sql),
                fmt::format("migrate to version {}", migration.to.text()));
  }
  TRY_ASSIGN(const Database::Complaints complaints, database.check());
  if (!complaints.dangling.empty()) {
    return Error(Code::kCorrupt,
                 fmt::format("after the migration, {}", complaints.dangling.front()));
  }
  TRY(set_version(database, schema));
  return transaction.commit();
}

}  // namespace

std::string SchemaVersion::text() const {
  return fmt::format("{}.{}", major, minor);
}

Status migrate(Database& database,
               const Schema& schema,
               const std::function<Status(SchemaVersion from)>& before_migration) {
  TRY_ASSIGN(const std::int64_t application, database.get_integer("PRAGMA application_id", {}));
  TRY_ASSIGN(const std::int64_t user_version, database.get_integer("PRAGMA user_version", {}));
  TRY_ASSIGN(const std::int64_t objects,
             database.get_integer("SELECT count(*) FROM sqlite_schema", {}));
  if (user_version == 0 && objects == 0) return create(database, schema);
  if (application != schema.application_id || user_version <= 0) {
    return Error(Code::kCorrupt, "the file is a database of another program");
  }

  const SchemaVersion version = from_user_version(user_version);
  if (version.major > schema.version.major) {
    return Error(Code::kConflict,
                 fmt::format("made by a newer Cairn: its schema is version {}, this program knows "
                             "up to {}. Start the newer program, or put back the copy that it left "
                             "beside the file before it migrated (.before-v...)",
                             version.text(), schema.version.text()));
  }
  if (version >= schema.version) return {};

  TRY_CONTEXT(before_migration(version), "copy the old version");
  // Rebuilding a table needs the enforcement off, which is possible only outside a transaction; the
  // check before the commit takes its place.
  TRY(database.execute("PRAGMA foreign_keys=OFF"));
  const Status migrated = run_migrations(database, schema, version);
  TRY(database.execute("PRAGMA foreign_keys=ON"));
  return migrated;
}

}  // namespace cairn::sqlite
