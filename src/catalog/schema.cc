#include "catalog/schema.h"

namespace cairn::catalog {

namespace {

constexpr std::int32_t kApplicationId = 0x4341524E;  // "CARN"
constexpr sqlite::SchemaVersion kVersion{.major = 1, .minor = 1};

constexpr std::string_view kAddRegistries =
    "CREATE TABLE registries (name TEXT NOT NULL PRIMARY KEY, url TEXT NOT NULL, "
    "user TEXT NOT NULL, password_sealed BLOB NOT NULL, created_ms INTEGER NOT NULL, "
    "updated_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID";

}  // namespace

sqlite::Schema current_schema() {
  return {.application_id = kApplicationId,
          .version = kVersion,
          .create_sql = std::string(schema_sql()),
          .migrations = {{.to = {.major = 1, .minor = 1}, .sql = std::string(kAddRegistries)}}};
}

}  // namespace cairn::catalog
