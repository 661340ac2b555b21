// The journal keeps what was synced, survives torn records, and never needs space after creation.
#include "volume/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/ids.h"

namespace cairn::volume {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-journal-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  [[nodiscard]] os::Dir dir() const { return std::move(os::Dir::open(path_)).value(); }
  std::string path_;
  std::string operation_ = ids::make(ids::kOperation);
};

TEST_F(JournalTest, ReadsBackWhatWasAppended) {
  {
    auto journal = Journal::create(dir(), operation_, {"PLANNED", "{\"a\":1}"}, 0);
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE(journal->append({"STAGED", std::string(10000, 'x')}).ok());
    ASSERT_TRUE(journal->append({"QUIESCED", ""}).ok());
  }
  auto journal = Journal::open(dir(), operation_);
  ASSERT_TRUE(journal.ok());
  EXPECT_EQ(journal->state(), "QUIESCED");
  ASSERT_NE(journal->find("STAGED"), nullptr);
  EXPECT_EQ(journal->find("STAGED")->json.size(), 10000U);
  ASSERT_TRUE(journal->append({"UNDOING", ""}).ok());
  EXPECT_EQ(Journal::open(dir(), operation_)->state(), "UNDOING");
  EXPECT_EQ(list_journals(dir()).value(), std::vector<std::string>{operation_});
  ASSERT_TRUE(journal->remove(dir()).ok());
  EXPECT_TRUE(list_journals(dir())->empty());
}

TEST_F(JournalTest, ATornRecordIsAsIfItHadNotBeenWritten) {
  for (const std::size_t cut :
       {std::size_t{4096 + 10}, std::size_t{4096 + 60}, std::size_t{4096 + 5000}}) {
    const std::string operation = ids::make(ids::kOperation);
    auto journal = Journal::create(dir(), operation, {"PLANNED", "{}"}, 0);
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE(journal->append({"STAGED", std::string(9000, 'y')}).ok());
    const os::Fd file = dir().open_file(operation, O_RDWR).value();
    ASSERT_TRUE(os::write_all_at(file, Bytes(20), cut).ok());
    auto reopened = Journal::open(dir(), operation);
    ASSERT_TRUE(reopened.ok());
    EXPECT_EQ(reopened->state(), "PLANNED") << cut;
    ASSERT_TRUE(reopened->append({"UNDOING", ""}).ok());
    EXPECT_EQ(Journal::open(dir(), operation)->state(), "UNDOING");
  }
}

TEST_F(JournalTest, AppendsDoNotGrowTheFile) {
  auto journal = Journal::create(dir(), operation_, {"PLANNED", "{}"}, 0);
  ASSERT_TRUE(journal.ok());
  const auto before = dir().stat(operation_)->size_bytes;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(journal->append({"STATE", "{}"}).ok());
  const auto after = dir().stat(operation_).value();
  EXPECT_EQ(after.size_bytes, before);
  EXPECT_GE(after.blocks_bytes, before);
  EXPECT_EQ(journal->append({"BIG", std::string(1 << 20, 'z')}).error().code(), Code::kNoSpace);
}

TEST_F(JournalTest, AFileWithoutAWholeRecordIsCorrupt) {
  ASSERT_TRUE(dir().publish_file(operation_, as_bytes("nonsense"), 0600).ok());
  EXPECT_EQ(Journal::open(dir(), operation_).error().code(), Code::kCorrupt);
}

TEST_F(JournalTest, ADamagedRecordBeforeAWholeOneIsCorrupt) {
  // By page: PLANNED, two of STAGED, QUIESCED, EXCHANGING.
  for (const std::size_t page : {0U, 1U, 2U, 3U, 4U}) {
    const std::string operation = ids::make(ids::kOperation);
    auto journal = Journal::create(dir(), operation, {"PLANNED", "{}"}, 0);
    ASSERT_TRUE(journal.ok());
    ASSERT_TRUE(journal->append({"STAGED", std::string(6000, 'y')}).ok());
    ASSERT_TRUE(journal->append({"QUIESCED", "[]"}).ok());
    ASSERT_TRUE(journal->append({"EXCHANGING", "[]"}).ok());
    const os::Fd file = dir().open_file(operation, O_RDWR).value();
    ASSERT_TRUE(os::write_all_at(file, Bytes(20), page * kJournalPageBytes + 40).ok());
    const auto reopened = Journal::open(dir(), operation);
    if (page == 4) {
      ASSERT_TRUE(reopened.ok());
      EXPECT_EQ(reopened->state(), "QUIESCED") << "a crash may tear the last one";
    } else {
      ASSERT_FALSE(reopened.ok()) << page;
      EXPECT_EQ(reopened.error().code(), Code::kCorrupt) << page;
    }
  }
}

TEST_F(JournalTest, ATornRecordThatASmallerOneReplacedIsNoDamage) {
  auto journal = Journal::create(dir(), operation_, {"PLANNED", "{}"}, 0);
  ASSERT_TRUE(journal.ok());
  ASSERT_TRUE(journal->append({"STAGED", std::string(9000, 'y')}).ok());
  {
    const os::Fd file = dir().open_file(operation_, O_RDWR).value();
    ASSERT_TRUE(os::write_all_at(file, Bytes(20), kJournalPageBytes + 10).ok());
  }
  auto torn = Journal::open(dir(), operation_);
  ASSERT_TRUE(torn.ok());
  ASSERT_TRUE(torn->append({"UNDOING", ""}).ok());
  EXPECT_EQ(Journal::open(dir(), operation_)->state(), "UNDOING");
}

}  // namespace
}  // namespace cairn::volume
