#include "catalog/store.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "catalog/catalog.h"
#include "catalog/json.h"
#include "os/dir.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::uint32_t kFileMode = 0600;
constexpr std::string_view kCheckKey = "sealing_check";
constexpr std::string_view kCheckBoundTo = "meta/sealing_check";
constexpr std::string_view kCheckText = "cairn";

// SQLite would make the file with the process's umask, and leaves syncing its name to nobody.
Status ensure_file(const os::Dir& data) {
  const std::string name(kCatalogFile);
  TRY_ASSIGN(const auto there, data.find(name));
  if (there) return {};
  TRY_ASSIGN(const os::Fd made, data.open_file(name, O_RDWR | O_CREAT | O_EXCL, kFileMode));
  TRY(os::sync_all(made));
  return data.sync();
}

// Whole and durable under its name before the migration begins. An older copy of that name is from
// a migration that did not end: the catalog is still what was copied then, or newer.
Status keep_copy(const os::Dir& data,
                 const std::string& data_directory,
                 sqlite::Database& database,
                 const std::string& name) {
  const std::string unfinished = name + ".unfinished";
  TRY_ASSIGN(const auto left, data.find(unfinished));
  if (left) TRY(data.remove_file(unfinished));
  {
    TRY_ASSIGN(const os::Fd file, data.open_file(unfinished, O_RDWR | O_CREAT | O_EXCL, kFileMode));
    TRY(database.copy_to(fmt::format("{}/{}", data_directory, unfinished)));
    TRY(os::sync_all(file));
  }
  TRY_ASSIGN(const auto older, data.find(name));
  if (older) TRY(data.remove_file(name));
  TRY(data.rename_to(unfinished, data, name));
  return data.sync();
}

}  // namespace

Store::Store(std::string data_directory, const codec::Sealer& sealer, sqlite::Database database)
    : data_directory_(std::move(data_directory)), sealer_(sealer), database_(std::move(database)) {}

Result<std::unique_ptr<Store>> Store::open(const std::string& data_directory,
                                           const codec::Sealer& sealer,
                                           const sqlite::Schema& schema) {
  const std::string path = fmt::format("{}/{}", data_directory, kCatalogFile);
  const std::string what = fmt::format("open the catalog {}", path);
  TRY_ASSIGN(const os::Dir data, os::Dir::open(data_directory));
  TRY_CONTEXT(ensure_file(data), what);
  TRY_ASSIGN(sqlite::Database database, sqlite::Database::open(path));
  const auto before_migration = [&](sqlite::SchemaVersion /*from*/) {
    return keep_copy(data, data_directory, database,
                     fmt::format("{}.before-v{}", kCatalogFile, schema.version.text()));
  };
  TRY_CONTEXT(sqlite::migrate(database, schema, before_migration), what);
  auto store = std::make_unique<Store>(data_directory, sealer, std::move(database));
  TRY_CONTEXT(store->check_key(), what);
  return store;
}

Status Store::check_key() {
  auto database = lock();
  TRY_ASSIGN(const auto stored,
             database->first<Bytes>(
                 "SELECT value FROM meta WHERE key = ?", {kCheckKey},
                 +[](const sqlite::Statement& row) -> Result<Bytes> { return row.blob(0); }));
  if (!stored) {
    const Bytes sealed = sealer_.seal(kCheckText, kCheckBoundTo);
    TRY(database->run("INSERT INTO meta (key, value) VALUES (?, ?)", {kCheckKey, sealed}));
    return {};
  }
  const auto opened = sealer_.open(*stored, kCheckBoundTo);
  if (!opened.ok() || *opened != kCheckText) {
    return Error(Code::kCorrupt,
                 "keys/sealing.key is not the key that this catalog was sealed with: put back the "
                 "right one from the recovery kit");
  }
  return {};
}

Bytes Store::seal_env(std::string_view table, std::string_view id, const Env& env) const {
  return sealer_.seal(dump(nlohmann::json(env)), fmt::format("{}/{}/env", table, id));
}

Result<Env> Store::open_env(std::string_view table, std::string_view id, ByteView sealed) const {
  const std::string what = fmt::format("env of {} {}", table, id);
  const auto plain = sealer_.open(sealed, fmt::format("{}/{}/env", table, id));
  if (!plain.ok()) return plain.error().with_context(what);
  return parse_text_record(*plain, what);
}

}  // namespace cairn::catalog
