// Statement: one prepared SQL statement with typed values in and typed columns out. One thread at a
// time; does not outlive its Database.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace cairn::sqlite {

// A value to bind. Views stay valid until the statement has run.
class Value {
 public:
  // NOLINTBEGIN(google-explicit-constructor): lists of values read as lists of columns.
  Value(std::int64_t value) : value_(value) {}
  Value(int value) : value_(std::int64_t{value}) {}
  Value(std::uint64_t value) : value_(static_cast<std::int64_t>(value)) {}
  Value(std::string_view text) : value_(text) {}
  Value(const std::string& text) : value_(std::string_view(text)) {}
  Value(const char* text) : value_(std::string_view(text)) {}
  Value(ByteView blob) : value_(blob) {}
  Value(const Bytes& blob) : value_(ByteView(blob)) {}
  // NOLINTEND(google-explicit-constructor)

 private:
  friend class Statement;
  std::variant<std::int64_t, std::string_view, ByteView> value_;
};

using Values = std::initializer_list<Value>;

class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement();

  // As many values as the statement has parameters, in order.
  Status bind(Values values);
  // True: there is a row to read. False: done.
  Result<bool> step();

  // Columns of the current row, from 0; the schema's STRICT tables keep their types.
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] std::uint64_t size(int column) const;  // an integer that cannot be negative
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] Bytes blob(int column) const;
  [[nodiscard]] int columns() const;

 private:
  friend class Database;
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  sqlite3* database_;
  sqlite3_stmt* statement_;
};

}  // namespace cairn::sqlite
