#include "os/unix_socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace cairn::os {
namespace {

class UnixSocket : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-socket-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    path_ = base_ + "/run/s.sock";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir((base_ + "/run").c_str());
    ::rmdir(base_.c_str());
  }
  std::string base_;
  std::string path_;
};

TEST_F(UnixSocket, IsClosedToOthersAndMakesItsDirectory) {
  auto listener = listen_unix(path_, "no-such-group-here");
  ASSERT_TRUE(listener.ok()) << listener.error().message();
  struct stat found{};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777U, 0660U);
}

TEST_F(UnixSocket, ServedSocketIsNotTakenOver) {
  auto first = listen_unix(path_, "no-such-group-here");
  ASSERT_TRUE(first.ok());
  auto second = listen_unix(path_, "no-such-group-here");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kConflict);
  EXPECT_EQ(check_unix(path_).error().code(), Code::kConflict);
}

TEST_F(UnixSocket, StaleSocketIsReplaced) {
  {
    ASSERT_TRUE(listen_unix(path_, "no-such-group-here").ok());
  }
  EXPECT_TRUE(check_unix(path_).ok());
  ASSERT_EQ(::access(path_.c_str(), F_OK), 0);
  auto again = listen_unix(path_, "no-such-group-here");
  EXPECT_TRUE(again.ok()) << again.error().message();
}

TEST_F(UnixSocket, OtherFileIsNeverRemoved) {
  ASSERT_EQ(::mkdir((base_ + "/run").c_str(), 0755), 0);
  std::ofstream(path_) << "precious";
  auto refused = listen_unix(path_, "no-such-group-here");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kExists);
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST_F(UnixSocket, RelativeAndLongPathsAreRefused) {
  EXPECT_EQ(listen_unix("relative.sock", "x").error().code(), Code::kInvalid);
  EXPECT_EQ(listen_unix("/" + std::string(200, 'a'), "x").error().code(), Code::kInvalid);
}

TEST(Peer, IsTheProcessThatConnected) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const Fd left(pair[0]);
  const Fd right(pair[1]);
  auto peer = peer_of(left.get());
  ASSERT_TRUE(peer.ok()) << peer.error().message();
  EXPECT_EQ(peer->uid, ::getuid());
  EXPECT_EQ(peer->gid, ::getgid());
  EXPECT_EQ(peer->pid, ::getpid());
}

TEST(Group, MissingOneIsNothing) {
  auto missing = find_group("no-such-group-here");
  ASSERT_TRUE(missing.ok());
  EXPECT_FALSE(missing->has_value());
  auto root = find_group("root");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(*root, std::optional<gid_t>(0));
}

}  // namespace
}  // namespace cairn::os
