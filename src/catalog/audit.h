// The audit trail: who did what to what, written before a destructive step begins. Never holds a
// secret. The oldest entries are trimmed past kAuditEntriesMax.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

class Store;

inline constexpr std::int64_t kAuditEntriesMax = 200'000;
inline constexpr std::int64_t kAuditEntriesPerListMax = 1'000;

struct AuditEntry {
  std::int64_t id = 0;       // set by append
  std::int64_t time_ms = 0;  // 0 becomes now
  std::string actor;         // "uid:0", "cairnd"
  std::string action;        // "snapshot.restore"
  std::string subject;       // an id or a name
  std::string detail;
  bool operator==(const AuditEntry&) const = default;
};

// Thread-safe.
class AuditTable {
 public:
  explicit AuditTable(Store& store) : store_(store) {}

  // Durable when it returns: only then may the destructive step begin. The entry's id.
  Result<std::int64_t> append(const AuditEntry& entry);
  // Newest first; only those before an id when it is not 0; at most min(limit,
  // kAuditEntriesPerListMax).
  Result<std::vector<AuditEntry>> list(std::int64_t before_id, std::int64_t limit);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
