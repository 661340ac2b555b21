// Schema versions of a database file, and the numbered, forward-only way from one to the next. The
// version is PRAGMA user_version = major * 1000 + minor: a newer minor only added what older
// programs need not know, a newer major must not be touched by them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sqlite/database.h"

namespace cairn::sqlite {

inline constexpr int kMinorVersionsMax = 1000;

struct SchemaVersion {
  int major = 0;
  int minor = 0;
  auto operator<=>(const SchemaVersion&) const = default;
  [[nodiscard]] std::string text() const;  // "1.2"
};

struct Migration {
  SchemaVersion to;
  std::string sql;
};

struct Schema {
  std::int32_t application_id = 0;    // PRAGMA application_id: whose file this is
  SchemaVersion version;              // that create_sql makes and migrations lead to
  std::string create_sql;             // on an empty file
  std::vector<Migration> migrations;  // rising; the last one leads to version
};

// Brings the file to the schema's version in one transaction; does nothing where it is there or has
// a newer minor. before_migration runs before an old file is changed (not for an empty one) and
// stops it by failing. kConflict: a newer major. kCorrupt: a file of something else. On failure the
// file is as it was.
Status migrate(Database& database,
               const Schema& schema,
               const std::function<Status(SchemaVersion from)>& before_migration);

}  // namespace cairn::sqlite
