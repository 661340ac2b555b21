// SQLite's result codes as errors. The one place where they are translated.
#pragma once

#include <string_view>

#include "base/result.h"

struct sqlite3;

namespace cairn::sqlite {

// kExists: unique or primary key. kConflict: foreign key. kNoSpace: full. kCorrupt: damaged or not
// a database. kUnavailable: the disk or another process does not let us. kInternal: the rest.
// database may be null. (sqlite.org/rescode.html)
Error sqlite_error(std::string_view what, int result_code, sqlite3* database);

}  // namespace cairn::sqlite
