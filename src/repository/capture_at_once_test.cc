// A cut that is held against an earlier capture, without a pass between.
#include <sys/stat.h>

#include "repository/pruner.h"
#include "repository/test_capture.h"

namespace cairn::repository {
namespace {

class CutAtOnceTest : public CaptureSessionTest {
 protected:
  void SetUp() override {
    CaptureSessionTest::SetUp();
    fs::create_directories(source_path("a/b"));
    write_file(source_path("top"), "top");
    write_file(source_path("a/one"), "1");
    write_file(source_path("a/b/two"), std::string(700'000, 'x'));
    let_clock_tick();
    capture();
    begin(session_->take_facts());
  }
  std::optional<CutResult> cut_at_once(const CutLimit& limit = {}) {
    EXPECT_TRUE(session_->sync().ok());
    auto result = session_->cut_at_once(0, limit);
    EXPECT_TRUE(result.ok()) << result.error().message();
    return result.ok() ? *result : std::nullopt;
  }
};

TEST_F(CutAtOnceTest, ReadsNothingWhereNothingChanged) {
  const auto result = cut_at_once();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->files_changed, 0U);
  EXPECT_EQ(result->entries, 5U);
  EXPECT_EQ(stored(), live());
  EXPECT_EQ(stats_.files, 3U);
  EXPECT_EQ(stats_.bytes, 700'004U);
  EXPECT_LE(blobs_added_, 2U);  // the manifest's time
}

TEST_F(CutAtOnceTest, StoresTheInstantOfTheCut) {
  write_file(source_path("top"), "changed");
  fs::remove(source_path("a/one"));
  write_file(source_path("a/new"), "new");
  fs::rename(source_path("a/b"), source_path("moved"));
  const auto at_cut = live();
  const auto result = cut_at_once();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->files_changed, 2U);
  write_file(source_path("top"), "too late");
  EXPECT_EQ(stored(), at_cut);
  // What was put aside may have dirty pages: it is read again.
  let_clock_tick();
  begin(session_->take_facts());
  EXPECT_EQ(pass().files_read, 2U);
  cut();
  EXPECT_EQ(stored(), live());
}

TEST_F(CutAtOnceTest, GivesUpWhereMoreChangedThanItMayTake) {
  write_file(source_path("top"), "changed");
  write_file(source_path("a/one"), "changed");
  EXPECT_FALSE(cut_at_once({.files = 1}).has_value());
  EXPECT_FALSE(cut_at_once({.bytes = 13}).has_value());
  EXPECT_EQ(pass().files_read, 2U);
  EXPECT_EQ(cut().entries, 5U);
  EXPECT_EQ(stored(), live());
}

TEST_F(CutAtOnceTest, GivesUpWhenItTakesTooLong) {
  const auto late = session_->cut_at_once(monotonic_ms(), {});
  ASSERT_TRUE(late.ok()) << late.error().message();
  EXPECT_FALSE(late->has_value());
  EXPECT_EQ(pass().files_read, 0U);
  EXPECT_EQ(cut().entries, 5U);
  EXPECT_EQ(stored(), live());
}

TEST_F(CutAtOnceTest, TakesAsMuchAsItMay) {
  write_file(source_path("top"), "changed");
  write_file(source_path("a/one"), "changed");
  EXPECT_TRUE(cut_at_once({.files = 2, .bytes = 14}).has_value());
  EXPECT_EQ(stored(), live());
}

TEST_F(CutAtOnceTest, ReadsAgainWhatAPruneRemoved) {
  FactsFile facts = [&] {
    cut_at_once();
    stored();
    return session_->take_facts();
  }();
  session_.reset();
  const auto snapshots = repository_->snapshots();
  ASSERT_TRUE(snapshots.ok());
  for (const SnapshotInfo& one : *snapshots) {
    ASSERT_TRUE(repository_->remove_snapshot(one.id).ok());
  }
  ASSERT_TRUE(prune(*repository_, progress_, {}).ok());
  begin(std::move(facts));
  const auto result = cut_at_once();
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->files_changed, 3U);
  EXPECT_EQ(stored(), live());
}

TEST_F(CutAtOnceTest, RefusesToTrustTimesOnceTheClockWasSet) {
  step_ns_ = -3'600'000'000'000;
  ASSERT_TRUE(session_->sync().ok());
  const auto result = session_->cut_at_once(0, {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Code::kConflict);
}

TEST_F(CutAtOnceTest, NeedsAnEarlierCapture) {
  EXPECT_TRUE(session_->knows_earlier());
  pass();
  EXPECT_FALSE(session_->knows_earlier());
  begin();
  EXPECT_FALSE(session_->knows_earlier());
}

}  // namespace
}  // namespace cairn::repository
