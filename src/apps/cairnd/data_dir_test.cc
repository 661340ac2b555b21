#include "apps/cairnd/data_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace cairn::daemon {
namespace {

class DataDirTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-data-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
  }
  void TearDown() override {
    auto parent = os::Dir::open("/tmp");
    ASSERT_TRUE(parent.ok());
    EXPECT_TRUE(parent->remove_tree(base_.substr(5)).ok());
  }
  std::string base_;
};

TEST_F(DataDirTest, IsMadeForItsOwnerOnly) {
  ASSERT_TRUE(DataDir::open(base_ + "/data").ok());
  struct stat found{};
  ASSERT_EQ(::stat((base_ + "/data").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777U, 0700U);
  ASSERT_EQ(::stat((base_ + "/data/keys").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777U, 0700U);
}

TEST_F(DataDirTest, SecondDaemonIsRefusedWithThePid) {
  auto first = DataDir::open(base_);
  ASSERT_TRUE(first.ok()) << first.error().message();
  auto second = DataDir::open(base_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kBusy);
  EXPECT_NE(second.error().message().find(std::to_string(::getpid())), std::string::npos);
}

TEST_F(DataDirTest, LockEndsWithItsHolder) {
  {
    ASSERT_TRUE(DataDir::open(base_).ok());
  }
  EXPECT_TRUE(DataDir::open(base_).ok());
}

TEST_F(DataDirTest, RelativePathIsRefused) {
  EXPECT_EQ(DataDir::open("data").error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace cairn::daemon
