#include "repository/sync_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "repository/limits.h"

namespace cairn::repository {
namespace {

// A pipe cannot be synced (fsync(2): EINVAL), so whether that was tried can be seen.
class SyncAheadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pipe_ = os::Fd(ends[0]);
    other_end_ = os::Fd(ends[1]);
  }
  os::Fd pipe_;
  os::Fd other_end_;
  SyncAhead sync_ahead_;
};

TEST_F(SyncAheadTest, SyncsOnceEnoughWasWritten) {
  sync_ahead_.wrote(pipe_, kSyncEveryBytes - 1);
  sync_ahead_.wrote(pipe_, 1);
  EXPECT_FALSE(sync_ahead_.finish().ok()) << "the failure of a sync is told";
}

TEST_F(SyncAheadTest, LeavesLittleToTheSyncInTheEnd) {
  sync_ahead_.wrote(pipe_, kSyncEveryBytes - 1);
  EXPECT_TRUE(sync_ahead_.finish().ok());
}

TEST_F(SyncAheadTest, AFileMayBeClosedBeforeItsSync) {
  sync_ahead_.wrote(pipe_, kSyncEveryBytes);
  pipe_.reset();
  const auto ended = sync_ahead_.finish();
  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().message().find("Bad file descriptor"), std::string::npos);
}

TEST_F(SyncAheadTest, OneThatHasEndedNeverKeepsTheNextOnesAway) {
  const os::Fd quick(::memfd_create("quick", MFD_CLOEXEC));  // its sync ends at once
  ASSERT_TRUE(quick.valid());
  for (int i = 0; i < 20'000; ++i) sync_ahead_.wrote(quick, kSyncEveryBytes);
  for (int i = 0; i < 1000; ++i) {
    sync_ahead_.wrote(pipe_, kSyncEveryBytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_FALSE(sync_ahead_.finish().ok()) << "the pipe was not synced";
}

TEST_F(SyncAheadTest, SyncsFilesThatCanBe) {
  std::string path = testing::TempDir() + "sync_ahead_XXXXXX";
  const os::Fd file(::mkostemp(path.data(), O_CLOEXEC));
  ASSERT_TRUE(file.valid());
  ::unlink(path.c_str());
  for (int i = 0; i < 100; ++i) sync_ahead_.wrote(file, kSyncEveryBytes);
  EXPECT_TRUE(sync_ahead_.finish().ok());
}

}  // namespace
}  // namespace cairn::repository
