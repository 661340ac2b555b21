// Database: owns one SQLite connection, set up so that what a commit returned survives a loss of
// power (WAL, synchronous=FULL). One thread at a time: keep it behind a parallel::Guarded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sqlite/statement.h"

struct sqlite3;

namespace cairn::sqlite {

inline constexpr int kBusyTimeoutMs = 5000;  // another process reads the file
inline constexpr int kIntegrityFindingsMax = 100;

class Database {
 public:
  // Opens an existing file (an empty one is an empty database) for reading and writing. Whoever
  // makes the file syncs its directory; SQLite gives its -wal and -shm files the same mode.
  static Result<Database> open(const std::string& path);
  Database(Database&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Database& operator=(Database&&) = delete;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  Result<Statement> prepare(std::string_view sql);
  // Several statements without values. Those before a failing one have run.
  Status execute(const std::string& sql);
  // One statement that gives no rows; the number of rows it changed.
  Result<std::int64_t> run(std::string_view sql, Values values);
  // The first column of the first row; kNotFound where there is no row.
  Result<std::int64_t> get_integer(std::string_view sql, Values values);

  // All rows, or the first one, through decode(const Statement&) -> Result<Row>.
  template <typename Row>
  Result<std::vector<Row>> all(std::string_view sql,
                               Values values,
                               Result<Row> (*decode)(const Statement&));
  template <typename Row>
  Result<std::optional<Row>> first(std::string_view sql,
                                   Values values,
                                   Result<Row> (*decode)(const Statement&));

  [[nodiscard]] std::int64_t last_insert_id() const;
  [[nodiscard]] bool in_transaction() const;

  // A commit is durable when it returns (the state after open), or only ordered. Not within a
  // transaction.
  enum class Sync { kDurable, kOrdered };
  Status set_sync(Sync sync);

  // Copies the whole database into an empty file; the caller syncs it.
  Status copy_to(const std::string& path);
  // What PRAGMA integrity_check and foreign_key_check complain about; empty when all is well.
  struct Complaints {
    std::vector<std::string> damage;
    std::vector<std::string> dangling;
  };
  Result<Complaints> check();

 private:
  explicit Database(sqlite3* database) : database_(database) {}
  Status configure();
  sqlite3* database_;
};

template <typename Row>
Result<std::vector<Row>> Database::all(std::string_view sql,
                                       Values values,
                                       Result<Row> (*decode)(const Statement&)) {
  TRY_ASSIGN(Statement statement, prepare(sql));
  TRY(statement.bind(values));
  std::vector<Row> rows;
  while (true) {
    TRY_ASSIGN(const bool more, statement.step());
    if (!more) return rows;
    TRY_ASSIGN(Row row, decode(statement));
    rows.push_back(std::move(row));
  }
}

template <typename Row>
Result<std::optional<Row>> Database::first(std::string_view sql,
                                           Values values,
                                           Result<Row> (*decode)(const Statement&)) {
  TRY_ASSIGN(Statement statement, prepare(sql));
  TRY(statement.bind(values));
  TRY_ASSIGN(const bool there, statement.step());
  if (!there) return std::optional<Row>();
  TRY_ASSIGN(Row row, decode(statement));
  return std::optional<Row>(std::move(row));
}

}  // namespace cairn::sqlite
