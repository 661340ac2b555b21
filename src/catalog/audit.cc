#include "catalog/audit.h"

#include <algorithm>

#include "base/clock.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

Result<AuditEntry> decode_audit(const sqlite::Statement& row) {
  return AuditEntry{.id = row.integer(0),
                    .time_ms = row.integer(1),
                    .actor = row.text(2),
                    .action = row.text(3),
                    .subject = row.text(4),
                    .detail = row.text(5)};
}

}  // namespace

Result<std::int64_t> AuditTable::append(const AuditEntry& entry) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(database->run(
      "INSERT INTO audit (time_ms, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
      {entry.time_ms != 0 ? entry.time_ms : wall_ms(), entry.actor, entry.action, entry.subject,
       entry.detail}));
  const std::int64_t id = database->last_insert_id();
  TRY(database->run("DELETE FROM audit WHERE id <= ?", {id - kAuditEntriesMax}));
  TRY(transaction.commit());
  return id;
}

Result<std::vector<AuditEntry>> AuditTable::list(std::int64_t before_id, std::int64_t limit) {
  auto database = store_.lock();
  return database->all<AuditEntry>(
      "SELECT id, time_ms, actor, action, subject, detail FROM audit "
      "WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2",
      {before_id, std::clamp<std::int64_t>(limit, 0, kAuditEntriesPerListMax)}, decode_audit);
}

}  // namespace cairn::catalog
