#include "sqlite/error.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>

namespace cairn::sqlite {

namespace {

Code code_of(int result_code, int os_errno) {
  switch (result_code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
      return Code::kExists;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
      return Code::kConflict;
    default:
      break;
  }
  switch (result_code & 0xff) {
    case SQLITE_FULL:
      return Code::kNoSpace;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return os_errno == ENOSPC || os_errno == EDQUOT ? Code::kNoSpace : Code::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kCorrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return Code::kUnavailable;
    case SQLITE_TOOBIG:
      return Code::kInvalid;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Error sqlite_error(std::string_view what, int result_code, sqlite3* database) {
  const int os_errno = database != nullptr ? sqlite3_system_errno(database) : 0;
  const char* detail = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(result_code);
  return {code_of(result_code, os_errno), fmt::format("{}: {}", what, detail)};
}

}  // namespace cairn::sqlite
