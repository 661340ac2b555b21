// Statements, transactions and migrations against real files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "os/dir.h"
#include "sqlite/database.h"
#include "sqlite/migration.h"
#include "sqlite/transaction.h"

namespace cairn::sqlite {
namespace {

class SqliteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/cairn-sqlite-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    auto dir = os::Dir::open(directory_);
    ASSERT_TRUE(dir.ok());
    ASSERT_TRUE(dir->open_file("test.db", O_RDWR | O_CREAT).ok());
  }
  void TearDown() override {
    auto tmp = os::Dir::open("/tmp");
    ASSERT_TRUE(tmp.ok());
    EXPECT_TRUE(tmp->remove_tree(directory_.substr(5)).ok());
  }

  Database open() {
    auto database = Database::open(path());
    EXPECT_TRUE(database.ok());
    return std::move(database).value();
  }
  [[nodiscard]] std::string path() const { return directory_ + "/test.db"; }

  std::string directory_;
};

struct Pair {
  std::int64_t number;
  std::string text;
};
Result<Pair> decode(const Statement& row) {
  return Pair{row.integer(0), row.text(1)};
}

std::int64_t count(Database& database, const std::string& table) {
  return database.get_integer("SELECT count(*) FROM " + table, {}).value_or(-1);
}

TEST_F(SqliteTest, KeepsWhatWasBoundExactly) {
  Database database = open();
  ASSERT_TRUE(database.execute("CREATE TABLE t (n INTEGER, s TEXT, b BLOB) STRICT").ok());
  const std::string with_nul("a\0b", 3);
  const Bytes blob = {std::byte{0}, std::byte{255}};
  const std::int64_t lowest = INT64_MIN;
  ASSERT_TRUE(database.run("INSERT INTO t VALUES (?, ?, ?)", {lowest, with_nul, blob}).ok());
  ASSERT_TRUE(database.run("INSERT INTO t VALUES (?, ?, ?)", {0, "", Bytes()}).ok());
  auto statement = database.prepare("SELECT n, s, b FROM t ORDER BY n");
  ASSERT_TRUE(statement.ok());
  ASSERT_TRUE(statement->step().value_or(false));
  EXPECT_EQ(statement->integer(0), lowest);
  EXPECT_EQ(statement->text(1), with_nul);
  EXPECT_EQ(statement->blob(2), blob);
  ASSERT_TRUE(statement->step().value_or(false));
  EXPECT_EQ(statement->text(1), "");
  EXPECT_TRUE(statement->blob(2).empty());
  EXPECT_FALSE(statement->step().value_or(true));
}

TEST_F(SqliteTest, NamesFailuresByWhatTheCallerCanDo) {
  Database database = open();
  ASSERT_TRUE(database
                  .execute("CREATE TABLE a (id TEXT PRIMARY KEY) STRICT;"
                           "CREATE TABLE b (a TEXT REFERENCES a (id)) STRICT")
                  .ok());
  ASSERT_TRUE(database.run("INSERT INTO a VALUES (?)", {"x"}).ok());
  EXPECT_EQ(database.run("INSERT INTO a VALUES (?)", {"x"}).error().code(), Code::kExists);
  EXPECT_EQ(database.run("INSERT INTO b VALUES (?)", {"none"}).error().code(), Code::kConflict);
  EXPECT_EQ(database.prepare("SELECT nonsense FROM a").error().code(), Code::kInternal);
  EXPECT_EQ(database.get_integer("SELECT 1 FROM a WHERE id = 'y'", {}).error().code(),
            Code::kNotFound);
}

TEST_F(SqliteTest, RefusesAFileThatIsNoDatabase) {
  auto dir = os::Dir::open(directory_);
  ASSERT_TRUE(dir.ok());
  const std::string junk(8192, 'j');
  ASSERT_TRUE(dir->publish_file("junk.db", as_bytes(junk), 0600).ok());
  const auto opened = Database::open(directory_ + "/junk.db");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kCorrupt);
  EXPECT_EQ(Database::open(directory_ + "/absent.db").error().code(), Code::kUnavailable);
}

TEST_F(SqliteTest, SyncsEveryCommitInItsWal) {
  Database database = open();
  EXPECT_EQ(database.get_integer("PRAGMA synchronous", {}).value_or(-1), 2);
  EXPECT_EQ(database.get_integer("PRAGMA foreign_keys", {}).value_or(-1), 1);
  ASSERT_TRUE(database.set_sync(Database::Sync::kOrdered).ok());
  EXPECT_EQ(database.get_integer("PRAGMA synchronous", {}).value_or(-1), 1);
  ASSERT_TRUE(database.set_sync(Database::Sync::kDurable).ok());
  EXPECT_EQ(database.get_integer("PRAGMA synchronous", {}).value_or(-1), 2);
}

TEST_F(SqliteTest, RollsBackATransactionThatWasNotCommitted) {
  Database database = open();
  ASSERT_TRUE(database.execute("CREATE TABLE t (n INTEGER) STRICT").ok());
  {
    auto outer = Transaction::begin(database);
    ASSERT_TRUE(outer.ok());
    ASSERT_TRUE(database.run("INSERT INTO t VALUES (?)", {1}).ok());
    {
      auto dropped = Transaction::begin(database);
      ASSERT_TRUE(dropped.ok());
      ASSERT_TRUE(database.run("INSERT INTO t VALUES (?)", {2}).ok());
    }
    {
      auto kept = Transaction::begin(database);
      ASSERT_TRUE(kept.ok());
      ASSERT_TRUE(database.run("INSERT INTO t VALUES (?)", {3}).ok());
      ASSERT_TRUE(kept->commit().ok());
    }
    EXPECT_EQ(count(database, "t"), 2);
    ASSERT_TRUE(outer->commit().ok());
  }
  const auto rows = database.all<Pair>("SELECT n, '' FROM t ORDER BY n", {}, decode);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_EQ(rows->front().number, 1);
  EXPECT_EQ(rows->back().number, 3);
  {
    auto dropped = Transaction::begin(database);
    ASSERT_TRUE(dropped.ok());
    ASSERT_TRUE(database.run("DELETE FROM t", {}).ok());
  }
  EXPECT_EQ(count(database, "t"), 2);
  EXPECT_FALSE(database.in_transaction());
}

TEST_F(SqliteTest, FindsDamageInItsFile) {
  {
    Database database = open();
    ASSERT_TRUE(
        database.execute("CREATE TABLE t (n INTEGER, s TEXT) STRICT; CREATE INDEX i ON t(s)").ok());
    for (int i = 0; i < 2000; ++i) {
      ASSERT_TRUE(database.run("INSERT INTO t VALUES (?, ?)", {i, std::string(40, 'x')}).ok());
    }
    const auto complaints = database.check();
    ASSERT_TRUE(complaints.ok());
    EXPECT_TRUE(complaints->damage.empty());
    EXPECT_TRUE(complaints->dangling.empty());
  }
  auto dir = os::Dir::open(directory_);
  ASSERT_TRUE(dir.ok());
  auto file = dir->open_file("test.db", O_RDWR);
  ASSERT_TRUE(file.ok());
  // Pages 4 to 6 hold rows or index entries.
  ASSERT_TRUE(os::write_all_at(*file, as_bytes(std::string(3 * 4096, '\xff')), 3 * 4096).ok());
  Database database = open();
  const auto complaints = database.check();
  EXPECT_TRUE(!complaints.ok() || !complaints->damage.empty());
}

constexpr std::int32_t kTestApplication = 77;

Schema first_schema() {
  return {.application_id = kTestApplication,
          .version = {.major = 1, .minor = 0},
          .create_sql = "CREATE TABLE t (n INTEGER, s TEXT NOT NULL) STRICT;",
          .migrations = {}};
}

Schema third_schema() {
  return {.application_id = kTestApplication,
          .version = {.major = 2, .minor = 0},
          .create_sql =
              "CREATE TABLE t (n INTEGER, s TEXT NOT NULL, extra TEXT NOT NULL DEFAULT "
              "'none', rank INTEGER NOT NULL DEFAULT 5) STRICT;",
          .migrations = {
              {.to = {.major = 1, .minor = 1},
               .sql = "ALTER TABLE t ADD COLUMN extra TEXT NOT NULL DEFAULT 'none'"},
              {.to = {.major = 2, .minor = 0},
               .sql = "ALTER TABLE t ADD COLUMN rank INTEGER NOT NULL DEFAULT 5; UPDATE t SET s = "
                      "upper(s)"}}};
}

Status nothing(SchemaVersion /*from*/) {
  return {};
}

TEST_F(SqliteTest, MigratesThroughEveryVersionOnce) {
  Database database = open();
  int copies = 0;
  const auto copy = [&copies](SchemaVersion from) {
    EXPECT_EQ(from.text(), "1.0");
    ++copies;
    return Status();
  };
  ASSERT_TRUE(migrate(database, first_schema(), copy).ok());
  EXPECT_EQ(copies, 0) << "an empty file needs no copy";
  ASSERT_TRUE(database.run("INSERT INTO t VALUES (?, ?)", {7, "old"}).ok());
  ASSERT_TRUE(migrate(database, third_schema(), copy).ok());
  ASSERT_TRUE(migrate(database, third_schema(), copy).ok());
  EXPECT_EQ(copies, 1);
  const auto row = database.first<Pair>("SELECT rank, s || extra FROM t WHERE n = 7", {}, decode);
  ASSERT_TRUE(row.ok() && row->has_value());
  EXPECT_EQ((*row)->number, 5);
  EXPECT_EQ((*row)->text, "OLDnone");
  EXPECT_EQ(database.get_integer("PRAGMA user_version", {}).value_or(0), 2000);
}

TEST_F(SqliteTest, LeavesTheFileAsItWasWhenAMigrationFails) {
  Database database = open();
  ASSERT_TRUE(migrate(database, first_schema(), nothing).ok());
  ASSERT_TRUE(database.run("INSERT INTO t VALUES (?, ?)", {7, "old"}).ok());
  Schema broken = third_schema();
  broken.migrations[1].sql += "; UPDATE absent SET x = 1";
  EXPECT_FALSE(migrate(database, broken, nothing).ok());
  EXPECT_EQ(database.get_integer("PRAGMA user_version", {}).value_or(0), 1000);
  EXPECT_EQ(database.get_integer("SELECT count(*) FROM pragma_table_info('t')", {}).value_or(0), 2);
  EXPECT_EQ(database.get_integer("PRAGMA foreign_keys", {}).value_or(-1), 1);

  const auto refuse = [](SchemaVersion) { return Status(Error(Code::kNoSpace, "disk is full")); };
  EXPECT_EQ(migrate(database, third_schema(), refuse).error().code(), Code::kNoSpace);
  EXPECT_EQ(database.get_integer("PRAGMA user_version", {}).value_or(0), 1000);
  ASSERT_TRUE(migrate(database, third_schema(), nothing).ok());
}

TEST_F(SqliteTest, RefusesANewerMajorAndTakesANewerMinor) {
  Database database = open();
  ASSERT_TRUE(migrate(database, third_schema(), nothing).ok());
  const Status refused = migrate(database, first_schema(), nothing);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kConflict);
  EXPECT_NE(refused.error().message().find("newer Cairn"), std::string::npos);

  ASSERT_TRUE(database.execute("PRAGMA user_version=2007").ok());
  ASSERT_TRUE(migrate(database, third_schema(), nothing).ok());
  EXPECT_EQ(database.get_integer("PRAGMA user_version", {}).value_or(0), 2007);
}

TEST_F(SqliteTest, RefusesADatabaseOfAnotherProgram) {
  Database database = open();
  ASSERT_TRUE(database.execute("CREATE TABLE theirs (n INTEGER)").ok());
  EXPECT_EQ(migrate(database, first_schema(), nothing).error().code(), Code::kCorrupt);
  ASSERT_TRUE(database.execute("PRAGMA user_version=1000").ok());
  EXPECT_EQ(migrate(database, first_schema(), nothing).error().code(), Code::kCorrupt);
  EXPECT_EQ(count(database, "theirs"), 0);
}

}  // namespace
}  // namespace cairn::sqlite
