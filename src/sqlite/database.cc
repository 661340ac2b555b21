#include "sqlite/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/check.h"
#include "sqlite/error.h"

namespace cairn::sqlite {

Result<Database> Database::open(const std::string& path) {
  sqlite3* raw = nullptr;
  // NOMUTEX: one thread at a time is our own promise. Not CREATE: the mode of the file is the
  // caller's to choose.
  const int code =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  Database database(raw);  // even a failed open leaves a handle to close
  const std::string what = fmt::format("open the database {}", path);
  if (code != SQLITE_OK) return sqlite_error(what, code, raw);
  TRY_CONTEXT(database.configure(), what);
  return database;
}

Database::~Database() {
  sqlite3_close_v2(database_);
}

Status Database::configure() {
  sqlite3_busy_timeout(database_, kBusyTimeoutMs);
  // A damaged or hostile file must not run code or be trusted further than it is read.
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  TRY(execute("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"));
  TRY(execute("PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;"));
  {
    TRY_ASSIGN(Statement statement, prepare("PRAGMA journal_mode=WAL"));
    TRY_ASSIGN(const bool there, statement.step());
    if (!there || statement.text(0) != "wal") {
      return Error(Code::kUnavailable, "this file system does not let SQLite keep a WAL");
    }
  }
  return set_sync(Sync::kDurable);
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return sqlite_error("prepare a statement", code, database_);
  CHECK(statement != nullptr);
  return Statement(database_, statement);
}

Status Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return sqlite_error("run SQL", code, database_);
  return {};
}

Result<std::int64_t> Database::run(std::string_view sql, Values values) {
  TRY_ASSIGN(Statement statement, prepare(sql));
  TRY(statement.bind(values));
  TRY_ASSIGN(const bool row, statement.step());
  CHECK(!row);
  return static_cast<std::int64_t>(sqlite3_changes64(database_));
}

Result<std::int64_t> Database::get_integer(std::string_view sql, Values values) {
  TRY_ASSIGN(Statement statement, prepare(sql));
  TRY(statement.bind(values));
  TRY_ASSIGN(const bool row, statement.step());
  if (!row) return Error(Code::kNotFound, "no such row");
  return statement.integer(0);
}

std::int64_t Database::last_insert_id() const {
  return sqlite3_last_insert_rowid(database_);
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(database_) == 0;
}

Status Database::set_sync(Sync sync) {
  return execute(sync == Sync::kDurable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
}

Status Database::copy_to(const std::string& path) {
  TRY_CONTEXT(run("VACUUM INTO ?", {path}), fmt::format("copy the database to {}", path));
  return {};
}

Result<Database::Complaints> Database::check() {
  Complaints found;
  {
    TRY_ASSIGN(Statement statement,
               prepare(fmt::format("PRAGMA integrity_check({})", kIntegrityFindingsMax)));
    while (true) {
      TRY_ASSIGN(const bool more, statement.step());
      if (!more) break;
      std::string line = statement.text(0);
      if (line != "ok") found.damage.push_back(std::move(line));
    }
  }
  TRY_ASSIGN(Statement statement, prepare("PRAGMA foreign_key_check"));
  while (true) {
    TRY_ASSIGN(const bool more, statement.step());
    if (!more) return found;
    if (found.dangling.size() >= static_cast<std::size_t>(kIntegrityFindingsMax)) return found;
    found.dangling.push_back(fmt::format("row {} of {} names a row of {} that is not there",
                                         statement.integer(1), statement.text(0),
                                         statement.text(2)));
  }
}

}  // namespace cairn::sqlite
