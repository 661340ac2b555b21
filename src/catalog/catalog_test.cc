// Opening, migrating and checking the catalog's file.
#include "catalog/catalog.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "catalog/schema.h"
#include "catalog/store.h"
#include "catalog/test_data.h"
#include "sqlite/database.h"

namespace cairn::catalog {
namespace {

using CatalogFile = CatalogTest;

std::string path_of(const std::string& directory, const std::string& name) {
  return directory + "/" + name;
}

TEST_F(CatalogFile, IsReadableByItsOwnerOnly) {
  add(web());
  for (const char* name : {"catalog.db", "catalog.db-wal", "catalog.db-shm"}) {
    const auto stat = data().stat(name);
    ASSERT_TRUE(stat.ok()) << name;
    EXPECT_EQ(stat->mode, 0600U) << name;
  }
}

TEST_F(CatalogFile, KeepsWhatWasWrittenAcrossAStart) {
  add(web());
  reopen();
  const auto found = catalog_->workloads().get("web");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, web());
}

TEST_F(CatalogFile, HoldsNoSecretInPlainText) {
  add(web());
  Release release;
  release.id = "rel_1";
  release.workload_id = "wl_web";
  release.env = web().env;
  ASSERT_TRUE(catalog_->releases().insert(release).ok());
  catalog_.reset();
  for (const os::Entry& entry : data().list().value_or({})) {
    const auto content = data().read_file(entry.name, 64U << 20U);
    ASSERT_TRUE(content.ok());
    EXPECT_EQ(content->find("hunter2"), std::string::npos) << entry.name;
  }
}

TEST_F(CatalogFile, RefusesAnotherSealingKey) {
  add(web());
  catalog_.reset();
  codec::SealingKey other = key_;
  other[0] ^= std::byte{1};
  const auto opened = Catalog::open(directory_, codec::Sealer(other));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kCorrupt);
  EXPECT_NE(opened.error().message().find("recovery kit"), std::string::npos);
  reopen();
}

TEST_F(CatalogFile, RefusesOneOfANewerMajorVersionAndLeavesItAlone) {
  catalog_.reset();
  {
    auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->execute("PRAGMA user_version=9001").ok());
  }
  const auto opened = Catalog::open(directory_, sealer());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kConflict);
  EXPECT_NE(opened.error().message().find("9.1"), std::string::npos);
  EXPECT_NE(opened.error().message().find("Start the newer program"), std::string::npos);
  auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
  ASSERT_TRUE(database.ok());
  EXPECT_EQ(database->get_integer("PRAGMA user_version", {}).value_or(0), 9001);
}

TEST_F(CatalogFile, TakesOneOfANewerMinorVersion) {
  add(web());
  catalog_.reset();
  {
    auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database
                    ->execute("ALTER TABLE workloads ADD COLUMN later TEXT NOT NULL DEFAULT 'x';"
                              "PRAGMA user_version=3009")
                    .ok());
  }
  reopen();
  EXPECT_TRUE(catalog_->workloads().get("web").ok());
  Workload other = web();
  other.id = "wl_other";
  other.name = "other";
  add(other);
}

// 1.0 knew neither imported nor adopted snapshots.
TEST_F(CatalogFile, TakesSnapshotsFromBeforeThereWereImportsAndAdoptions) {
  SnapshotRow row;
  row.id = "snap_old";
  row.workload_id = "wl_any";
  row.workload_name = "any";
  row.consistency = "paused";
  ASSERT_TRUE(catalog_->snapshots().insert(row).ok());
  catalog_.reset();
  {
    auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database
                    ->execute("DROP TABLE registries; ALTER TABLE places DROP COLUMN content;"
                              "ALTER TABLE snapshots DROP COLUMN adopted_from;"
                              "PRAGMA user_version=1000")
                    .ok());
  }
  reopen();
  const auto old = catalog_->snapshots().find("snap_old");
  ASSERT_TRUE(old.ok() && old->has_value());
  EXPECT_EQ((*old)->consistency, "paused");
  EXPECT_EQ((*old)->adopted_from, "");
  row.id = "snap_new";
  row.reason = SnapshotReason::kImport;
  EXPECT_TRUE(catalog_->snapshots().insert(row).ok());
  row.id = "snap_other";
  row.reason = SnapshotReason::kAdopted;
  row.adopted_from = std::string(64, 'a');
  EXPECT_TRUE(catalog_->snapshots().insert(row).ok());
  const auto adopted = catalog_->snapshots().find("snap_other");
  ASSERT_TRUE(adopted.ok() && adopted->has_value());
  EXPECT_EQ((*adopted)->reason, SnapshotReason::kAdopted);
  EXPECT_EQ((*adopted)->adopted_from, row.adopted_from);
}

sqlite::Schema next_schema(std::string migration) {
  sqlite::Schema schema = current_schema();
  schema.version = {.major = schema.version.major + 1, .minor = 0};
  schema.migrations.push_back({.to = schema.version, .sql = std::move(migration)});
  return schema;
}

TEST_F(CatalogFile, IsCopiedBeforeAMigration) {
  add(web());
  catalog_.reset();
  const auto schema =
      next_schema("ALTER TABLE workloads ADD COLUMN later TEXT NOT NULL DEFAULT ''");
  {
    const auto store = Store::open(directory_, sealer(), schema);
    ASSERT_TRUE(store.ok()) << store.error().message();
    auto database = (*store)->lock();
    EXPECT_EQ(
        database->get_integer("SELECT count(*) FROM workloads WHERE later = ''", {}).value_or(0),
        1);
  }
  const std::string copy = "catalog.db.before-v4.0";
  const auto stat = data().stat(copy);
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->mode, 0600U);
  EXPECT_FALSE(data().stat(copy + ".unfinished").ok());

  // The copy put back is a whole catalog of the old version.
  for (const char* name : {"catalog.db", "catalog.db-wal", "catalog.db-shm"}) {
    if (data().find(name).value_or({}).has_value()) {
      ASSERT_TRUE(data().remove_file(name).ok());
    }
  }
  ASSERT_TRUE(data().rename_to(copy, data(), "catalog.db").ok());
  reopen();
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}), web());
  EXPECT_TRUE(catalog_->check().value_or({{}}).empty());
}

// What a catalog of version 1.0 lacks is what the migrations add, column by column.
TEST_F(CatalogFile, OfTheFirstVersionBecomesOneOfThisVersion) {
  add(web());
  catalog_.reset();
  const auto columns = [](sqlite::Database& database) {
    return database
        .all<std::string>(
            "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.pk || ' ' || "
            "c.\"notnull\" || ' ' || ifnull(c.dflt_value, '') FROM sqlite_schema t, "
            "pragma_table_xinfo(t.name) c WHERE t.type = 'table' ORDER BY t.name, c.cid",
            {}, +[](const sqlite::Statement& row) -> Result<std::string> { return row.text(0); })
        .value_or({});
  };
  std::vector<std::string> fresh;
  {
    auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
    ASSERT_TRUE(database.ok());
    fresh = columns(*database);
    ASSERT_FALSE(fresh.empty());
    ASSERT_TRUE(database
                    ->execute("DROP TABLE registries; ALTER TABLE places DROP COLUMN content;"
                              "ALTER TABLE snapshots DROP COLUMN adopted_from;"
                              "PRAGMA user_version=1000")
                    .ok());
    EXPECT_NE(columns(*database), fresh);
  }
  reopen();
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}), web());
  EXPECT_TRUE(catalog_->check().value_or({{}}).empty());
  EXPECT_TRUE(data().stat("catalog.db.before-v" + current_schema().version.text()).ok());
  catalog_.reset();
  auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
  ASSERT_TRUE(database.ok());
  EXPECT_EQ(columns(*database), fresh);
}

TEST_F(CatalogFile, IsUnchangedByAMigrationThatFails) {
  add(web());
  catalog_.reset();
  const auto broken = next_schema("DELETE FROM workloads; UPDATE absent SET x = 1");
  EXPECT_FALSE(Store::open(directory_, sealer(), broken).ok());
  // A copy that was cut off, and one of an earlier try, are no hindrance.
  ASSERT_TRUE(
      data().publish_file("catalog.db.before-v4.0.unfinished", as_bytes("half"), 0600).ok());
  EXPECT_FALSE(Store::open(directory_, sealer(), broken).ok());
  reopen();
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}), web());
}

TEST_F(CatalogFile, ReportsWhatIsDamagedInIt) {
  add(web());
  EXPECT_TRUE(catalog_->check().value_or({{}}).empty());
  {
    auto database = sqlite::Database::open(path_of(directory_, "catalog.db"));
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(
        database
            ->execute("PRAGMA foreign_keys=OFF;"
                      "INSERT INTO volumes VALUES ('wl_gone', '/data', '', '', '', 0);"
                      "UPDATE workloads SET env_sealed = x'00';"
                      "INSERT INTO undos VALUES ('undo_1','','','','','',0,'available',0,'',0);"
                      "UPDATE settings SET value = '0'")
            .ok());
  }
  const auto findings = catalog_->check();
  ASSERT_TRUE(findings.ok());
  std::vector<std::string> codes;
  for (const Finding& finding : *findings) codes.push_back(finding.code);
  EXPECT_EQ(codes, (std::vector<std::string>{"catalog_dangling", "catalog_undecodable"}));
}

TEST_F(CatalogFile, RunsSeveralTablesAllOrNothing) {
  add(web());
  const Status failed = catalog_->atomically([this]() -> Status {
    TRY_ASSIGN(const std::int64_t generation, catalog_->workloads().bump_generation("wl_web"));
    EXPECT_EQ(generation, 1);
    UndoRow undo;
    undo.id = "undo_1";
    undo.workload_id = "wl_web";
    TRY(catalog_->undos().insert(undo));
    return Error(Code::kUnavailable, "the engine is down");
  });
  EXPECT_EQ(failed.error().code(), Code::kUnavailable);
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}).data_generation, 0);
  EXPECT_TRUE(catalog_->undos().list("").value_or({{}}).empty());

  const Status done = catalog_->atomically([this]() -> Status {
    TRY_ASSIGN(const std::int64_t generation, catalog_->workloads().bump_generation("wl_web"));
    EXPECT_EQ(generation, 1);
    return catalog_->atomically(
        [this] { return catalog_->workloads().raise_generation("wl_web", 5); });
  });
  EXPECT_TRUE(done.ok());
  reopen();
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}).data_generation, 5);
}

TEST_F(CatalogFile, KeepsAReserveForAFullDisk) {
  const auto stat = data().stat("catalog.reserve");
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->mode, 0600U);
  EXPECT_EQ(stat->size_bytes, kReserveBytes);
  ASSERT_TRUE(catalog_->release_reserve().ok());
  EXPECT_FALSE(data().stat("catalog.reserve").ok());
  ASSERT_TRUE(catalog_->release_reserve().ok()) << "it is gone already";
  reopen();
  EXPECT_TRUE(data().stat("catalog.reserve").ok());
}

bool write_proc(const std::string& name, const std::string& text) {
  auto proc = os::Dir::open("/proc/self");
  if (!proc.ok()) return false;
  auto file = proc->open_file(name, O_WRONLY);
  return file.ok() && os::write_all(*file, as_bytes(text)).ok();
}

// What the child of the next test does, in a mount namespace of its own; its exit status.
int use_a_full_disk(const std::string& directory, const codec::SealingKey& key) {
  const codec::Sealer sealer(key);
  if (::geteuid() == 0) {
    if (::unshare(CLONE_NEWNS) != 0) return 1;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 9;
  } else {
    // A user namespace as well, so that this needs no root.
    const std::string user = "0 " + std::to_string(::getuid()) + " 1";
    const std::string group = "0 " + std::to_string(::getgid()) + " 1";
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 1;
    if (!write_proc("uid_map", user) || !write_proc("setgroups", "deny") ||
        !write_proc("gid_map", group)) {
      return 8;
    }
  }
  if (::mount("none", directory.c_str(), "tmpfs", 0, "size=24m") != 0) return 2;
  {
    auto catalog = Catalog::open(directory, sealer);
    OperationRow row;
    row.id = "op_1";
    if (!catalog.ok() || !(*catalog)->operations().insert(row).ok()) return 3;
  }
  auto dir = os::Dir::open(directory);
  if (!dir.ok() || !dir->stat("catalog.reserve").ok()) return 4;
  {
    auto fill = dir->open_file("fill", O_WRONLY | O_CREAT);
    const Bytes block(4096);
    while (fill.ok() && os::write_all(*fill, block).ok()) {
    }
  }
  // A start after a crash: the row must become interrupted although nothing is free.
  auto catalog = Catalog::open(directory, sealer);
  if (!catalog.ok()) return 5;
  if ((*catalog)->interrupted().size() != 1) return 6;
  if (dir->stat("catalog.reserve").ok()) return 7;
  return 0;
}

TEST_F(CatalogFile, OpensOnAFullDisk) {
  const std::string place = path_of(directory_, "full");
  ASSERT_TRUE(data().make_dir("full", 0700).ok());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(use_a_full_disk(place, key_));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace cairn::catalog
