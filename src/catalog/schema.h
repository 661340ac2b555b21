// The catalog's schema: schema.sql, embedded at build, and the migrations that lead to it.
// Constant.
#pragma once

#include <string_view>

#include "sqlite/migration.h"

namespace cairn::catalog {

// The text of schema.sql.
std::string_view schema_sql();

// Version 1.0 is the first.
sqlite::Schema current_schema();

}  // namespace cairn::catalog
