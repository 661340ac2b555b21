#include "sqlite/transaction.h"

#include "base/log.h"

namespace cairn::sqlite {

Result<Transaction> Transaction::begin(Database& database) {
  const bool nested = database.in_transaction();
  // IMMEDIATE takes the write lock now, so that a busy file fails here and not half way.
  TRY(database.execute(nested ? "SAVEPOINT cairn" : "BEGIN IMMEDIATE"));
  return Transaction(database, nested);
}

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  // A full disk or an I/O error makes SQLite roll back the whole transaction by itself.
  if (!database_->in_transaction()) return;
  const Status status =
      database_->execute(nested_ ? "ROLLBACK TO cairn; RELEASE cairn" : "ROLLBACK");
  if (!status.ok()) log::error("roll back: {}", status.error().message());
}

Status Transaction::commit() {
  CHECK(database_ != nullptr);
  TRY(database_->execute(nested_ ? "RELEASE cairn" : "COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace cairn::sqlite
