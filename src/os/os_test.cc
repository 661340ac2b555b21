// Files and directories by descriptor, mountinfo, handles: on the real file system of /tmp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "os/dir.h"
#include "os/mount.h"
#include "os/process.h"

namespace cairn::os {
namespace {

class DirTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-os-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(path_); }
  [[nodiscard]] Dir dir() const {
    auto opened = Dir::open(path_);
    EXPECT_TRUE(opened.ok());
    return std::move(opened).value();
  }
  std::string path_;
};

TEST_F(DirTest, PublishRefusesATakenName) {
  const Dir d = dir();
  ASSERT_TRUE(d.publish_file("a", as_bytes("one"), 0600).ok());
  EXPECT_EQ(d.publish_file("a", as_bytes("two"), 0600).error().code(), Code::kExists);
  EXPECT_EQ(d.read_file("a", 100).value(), "one");
  EXPECT_EQ(d.list()->size(), 1U);
}

TEST_F(DirTest, OpensNothingOutsideOrThroughLinks) {
  std::filesystem::create_directory(path_ + "/in");
  std::filesystem::create_symlink("/etc", path_ + "/in/link");
  const Dir d = dir().open_dir("in").value();
  EXPECT_FALSE(d.open_dir("..").ok());
  EXPECT_FALSE(d.open_dir("link").ok());
  EXPECT_FALSE(d.open_file("link/passwd", O_RDONLY).ok());
  EXPECT_FALSE(d.open_file("/etc/passwd", O_RDONLY).ok());
}

TEST_F(DirTest, TellsWhatIsNoDirectoryAnyMoreFromWhatMayNotBeOpened) {
  std::ofstream(path_ + "/file") << "x";
  std::filesystem::create_symlink("/etc", path_ + "/link");
  for (const char* name : {"gone", "file", "link"}) {
    EXPECT_TRUE(is_gone(dir().open_dir(name).error())) << name;
  }
  EXPECT_FALSE(is_gone(dir().open_dir("..").error()));
}

TEST_F(DirTest, ListsManyEntriesAndNoneOfADirectoryThatWasRemoved) {
  const Dir d = dir();
  std::set<std::string> names;
  for (int i = 0; i < 2000; ++i) names.insert(std::string(200, 'n') + std::to_string(i));
  for (const std::string& name : names) ASSERT_TRUE(d.make_dir(name, 0700).ok());
  const auto listed = d.list();
  ASSERT_TRUE(listed.ok());
  std::set<std::string> found;
  for (const Entry& entry : *listed) found.insert(entry.name);
  EXPECT_EQ(listed->size(), names.size());
  EXPECT_EQ(found, names);
  const auto removed = d.open_dir(*names.begin());
  ASSERT_TRUE(removed.ok());
  ASSERT_TRUE(d.remove_dir(*names.begin()).ok());
  const auto gone = removed->list();
  ASSERT_TRUE(gone.ok()) << gone.error().message();
  EXPECT_TRUE(gone->empty());
}

// openat2 looks a name up and then asks whether what it found is beneath: in between it may move.
TEST_F(DirTest, ADirectoryThatMovesAwayWhileItIsOpenedIsThereOrGone) {
  std::filesystem::create_directories(path_ + "/here/dir");
  std::filesystem::create_directory(path_ + "/there");
  const Dir here = dir().open_dir("here").value();
  std::jthread mover([this](const std::stop_token& stop) {
    const std::string one = path_ + "/here/dir";
    const std::string other = path_ + "/there/dir";
    while (!stop.stop_requested()) {
      std::filesystem::rename(one, other);
      std::filesystem::rename(other, one);
    }
  });
  for (int i = 0; i < 300'000; ++i) {
    const auto opened = here.open_dir("dir", Crossing::kRefuse);
    ASSERT_TRUE(opened.ok() || opened.error().os_errno() == ENOENT) << opened.error().message();
  }
}

TEST_F(DirTest, TheDataOfAFileThatIsCutShortMeanwhileIsThereOrGone) {
  constexpr std::uint64_t kAt = 1U << 20U;
  constexpr int kLooks = 20'000;
  const Fd fd = dir().open_file("f", O_RDWR | O_CREAT | O_EXCL, 0600).value();
  std::jthread writer([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      EXPECT_TRUE(write_all_at(fd, as_bytes("data"), kAt).ok());
      EXPECT_TRUE(truncate(fd, 0).ok());
    }
  });
  for (int i = 0; i < kLooks; ++i) {
    const auto data = next_data(fd, 0);
    ASSERT_TRUE(data.ok()) << data.error().message();
    if (data->has_value()) {
      ASSERT_LT((*data)->begin, (*data)->end);
    }
  }
}

TEST_F(DirTest, NamesAreOneComponent) {
  const Dir d = dir();
  for (const std::string& bad :
       {std::string(""), std::string("."), std::string(".."), std::string("a/b"),
        std::string("a\0b", 3), std::string(256, 'x')}) {
    EXPECT_EQ(d.make_dir(bad, 0700).error().code(), Code::kInvalid);
  }
  EXPECT_TRUE(d.make_dir("new\nline \xff", 0700).ok());
}

TEST_F(DirTest, ExchangeKeepsHandlesWithTheTrees) {
  const Dir d = dir();
  ASSERT_TRUE(d.make_dir("a", 0700).ok());
  ASSERT_TRUE(d.make_dir("b", 0700).ok());
  const Handle a = d.handle("a").value();
  const Handle b = d.handle("b").value();
  EXPECT_NE(a, b);
  ASSERT_TRUE(d.exchange("a", d, "b").ok());
  EXPECT_EQ(d.handle("a").value(), b);
  EXPECT_EQ(d.handle("b").value(), a);
}

TEST_F(DirTest, WhatIsOnlyNamedHasTheSameHandle) {
  const Dir d = dir();
  ASSERT_TRUE(d.make_dir("a", 0700).ok());
  EXPECT_EQ(handle_of(d.open_path("a").value(), d.fd()).value(), d.handle("a").value());
  ASSERT_TRUE(d.make_symlink("nowhere", "link").ok());
  EXPECT_TRUE(handle_of(d.open_path("link").value(), d.fd()).ok());
}

TEST_F(DirTest, HandlesAreNotReusedWithTheInode) {
  const Dir d = dir();
  ASSERT_TRUE(d.make_dir("a", 0700).ok());
  const Handle first = d.handle("a").value();
  ASSERT_TRUE(d.remove_dir("a").ok());
  ASSERT_TRUE(d.make_dir("a", 0700).ok());
  EXPECT_NE(d.handle("a").value(), first);
}

TEST_F(DirTest, RemovesADirectoryOnlyWhenItIsEmpty) {
  std::filesystem::create_directories(path_ + "/full/x");
  std::filesystem::create_directories(path_ + "/empty");
  std::ofstream(path_ + "/file") << "kept";
  const Dir d = dir();
  EXPECT_FALSE(d.remove_dir_if_empty("full").value());
  EXPECT_TRUE(d.remove_dir_if_empty("empty").value());
  EXPECT_TRUE(d.remove_dir_if_empty("empty").value());
  EXPECT_FALSE(d.remove_dir_if_empty("file").ok());
  EXPECT_TRUE(std::filesystem::exists(path_ + "/full/x"));
}

TEST_F(DirTest, RemovesATreeButNotThroughLinks) {
  std::filesystem::create_directories(path_ + "/t/x/y");
  std::ofstream(path_ + "/keep") << "kept";
  std::filesystem::create_symlink("../keep", path_ + "/t/link");
  std::filesystem::create_directory_symlink(path_, path_ + "/t/x/up");
  const Dir d = dir();
  EXPECT_EQ(measure_tree(d.open_dir("t").value())->entries, 5U);
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_EQ(measure_tree(d.open_dir("t").value(), stopped.get_token()).error().code(),
            Code::kCancelled);
  ASSERT_TRUE(d.remove_tree("t").ok());
  ASSERT_TRUE(d.remove_tree("t").ok());
  EXPECT_FALSE(d.find("t")->has_value());
  EXPECT_EQ(d.read_file("keep", 100).value(), "kept");
}

TEST_F(DirTest, XattrsOwnersAndTimesAreSetByDescriptor) {
  const Dir d = dir();
  ASSERT_TRUE(d.publish_file("a", as_bytes("x"), 0640).ok());
  const Fd file = d.open_file("a", O_RDWR).value();
  ASSERT_TRUE(set_xattr(file, {"user.note", "v"}).ok());
  ASSERT_TRUE(change_times(file, {5, 1}, {-7, 999}).ok());
  ASSERT_TRUE(change_mode(file, 0751).ok());
  EXPECT_EQ(list_xattrs(file).value(), (std::vector<Xattr>{{"user.note", "v"}}));
  const Stat stat = stat_fd(file).value();
  EXPECT_EQ(stat.mode, 0751U);
  EXPECT_EQ(stat.mtime, (Timespec{-7, 999}));
}

TEST(Mountinfo, ParsesEscapesAndFindsThePlace) {
  const auto mounts = parse_mountinfo(
      "25 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
      "30 25 0:5 /sub /mnt/a\\040b ro,relatime shared:1 - btrfs /dev/sdb rw,subvol=/sub\n");
  ASSERT_TRUE(mounts.ok());
  ASSERT_EQ(mounts->size(), 2U);
  EXPECT_EQ((*mounts)[1].mount_point, "/mnt/a b");
  EXPECT_TRUE((*mounts)[1].read_only);
  const auto place = place_of(*mounts, "/mnt/a b/data");
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(place->path, "/sub/data");
  EXPECT_EQ(place_of(*mounts, "/mnt/other")->path, "/mnt/other");
  EXPECT_FALSE(parse_mountinfo("nonsense").ok());
}

TEST(Process, ThatEndsIsSeenToEnd) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const auto process = open_process(child);
  ASSERT_TRUE(process.ok());
  EXPECT_FALSE(has_ended(*process, 10).value());
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_TRUE(has_ended(*process, 60'000).value());
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(has_ended(*process, 0).value());
  EXPECT_EQ(open_process(child).error().os_errno(), ESRCH);
}

TEST(Mountinfo, SeesThisProcess) {
  EXPECT_FALSE(own_mounts()->empty());
  EXPECT_FALSE(all_mount_namespaces()->empty());
}

}  // namespace
}  // namespace cairn::os
