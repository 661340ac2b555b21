// Store: the open catalog file that the tables share, behind one lock, and the sealing of secrets.
// Only the catalog's own sources include this. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/workloads.h"
#include "codec/sealer.h"
#include "parallel/guarded.h"
#include "sqlite/database.h"
#include "sqlite/migration.h"

namespace cairn::catalog {

// Recursive, so that a table can be called within Catalog::atomically(). It is held across SQLite's
// own disk access: that is the exception to "no lock across I/O", since there is one writer.
using GuardedDatabase = parallel::Guarded<sqlite::Database, std::recursive_mutex>;

class Store {
 public:
  // As Catalog::open; the schema is an argument for the tests of migrations.
  static Result<std::unique_ptr<Store>> open(const std::string& data_directory,
                                             const codec::Sealer& sealer,
                                             const sqlite::Schema& schema);

  [[nodiscard]] GuardedDatabase::Access lock() { return database_.lock(); }
  [[nodiscard]] const codec::Sealer& sealer() const { return sealer_; }
  [[nodiscard]] const std::string& data_directory() const { return data_directory_; }

  // env as sealed JSON, bound to table and row, and back (kCorrupt).
  [[nodiscard]] Bytes seal_env(std::string_view table, std::string_view id, const Env& env) const;
  [[nodiscard]] Result<Env> open_env(std::string_view table,
                                     std::string_view id,
                                     ByteView sealed) const;

  Store(std::string data_directory, const codec::Sealer& sealer, sqlite::Database database);

 private:
  Status check_key();

  const std::string data_directory_;
  const codec::Sealer sealer_;
  GuardedDatabase database_;
};

}  // namespace cairn::catalog
