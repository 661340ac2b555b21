#include "catalog/schema.h"

namespace cairn::catalog {

namespace {

constexpr std::int32_t kApplicationId = 0x4341524E;  // "CARN"
constexpr sqlite::SchemaVersion kVersion{.major = 1, .minor = 0};

}  // namespace

sqlite::Schema current_schema() {
  return {.application_id = kApplicationId,
          .version = kVersion,
          .create_sql = std::string(schema_sql()),
          .migrations = {}};
}

}  // namespace cairn::catalog
