#include "sqlite/statement.h"

#include <sqlite3.h>

#include <utility>

#include "base/check.h"
#include "sqlite/error.h"

namespace cairn::sqlite {

namespace {

// SQLite takes "does not outlive the call" as a null destructor; the views outlive step().
int bind_value(sqlite3_stmt* statement, int at, std::int64_t value) {
  return sqlite3_bind_int64(statement, at, value);
}
int bind_value(sqlite3_stmt* statement, int at, std::string_view text) {
  // A null pointer would bind NULL.
  return sqlite3_bind_text64(statement, at, text.empty() ? "" : text.data(), text.size(), nullptr,
                             SQLITE_UTF8);
}
int bind_value(sqlite3_stmt* statement, int at, ByteView blob) {
  if (blob.empty()) return sqlite3_bind_zeroblob(statement, at, 0);
  return sqlite3_bind_blob64(statement, at, blob.data(), blob.size(), nullptr);
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Status Statement::bind(Values values) {
  CHECK(sqlite3_bind_parameter_count(statement_) == static_cast<int>(values.size()));
  int at = 0;
  for (const Value& value : values) {
    ++at;
    const int code = std::visit(
        [this, at](const auto& held) { return bind_value(statement_, at, held); }, value.value_);
    if (code != SQLITE_OK) return sqlite_error("bind a value", code, database_);
  }
  return {};
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  // Without this the connection keeps what the statement holds until it is finalized.
  Error error = sqlite_error("run a statement", code, database_);
  sqlite3_reset(statement_);
  return error;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::uint64_t Statement::size(int column) const {
  const std::int64_t value = integer(column);
  return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}

std::string Statement::text(int column) const {
  const unsigned char* data = sqlite3_column_text(statement_, column);
  if (data == nullptr) return {};
  const auto length = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return {reinterpret_cast<const char*>(data), length};
}

Bytes Statement::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  const auto length = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return {data, data + length};
}

int Statement::columns() const {
  return sqlite3_column_count(statement_);
}

}  // namespace cairn::sqlite
