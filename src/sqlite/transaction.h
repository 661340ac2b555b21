// Transaction: rolls back unless committed. Within another one it is a savepoint, so that functions
// that need one compose. One thread at a time.
#pragma once

#include <utility>

#include "base/result.h"
#include "sqlite/database.h"

namespace cairn::sqlite {

class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)), nested_(other.nested_) {}
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();

  // What is durable then (the outermost one) or part of the outer one. On failure all is rolled
  // back.
  Status commit();

 private:
  Transaction(Database& database, bool nested) : database_(&database), nested_(nested) {}
  Database* database_;  // null once it ended
  bool nested_;
};

}  // namespace cairn::sqlite
