// What ParentFiles takes over from an earlier snapshot, and what it must not.
#include "repository/parent_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <mutex>
#include <set>

#include "repository/test_repository.h"

namespace cairn::repository {
namespace {

constexpr Timespec kEver{.seconds = INT32_MAX, .nanoseconds = 0};

// Counts what is read although the parent might have known it.
class Counting final : public KnownFiles {
 public:
  explicit Counting(KnownFiles& below) : below_(below) {}
  std::optional<std::vector<Id>> find(const FilePlace& place, const os::Stat& stat) override {
    return below_.find(place, stat);
  }
  std::optional<Node> find_entry(const FilePlace& place, const os::Stat& stat) override {
    return below_.find_entry(place, stat);
  }
  void remember(const FilePlace& place, const os::Stat&, const std::vector<Id>&) override {
    const std::scoped_lock lock(mutex_);
    read.insert(std::string(place.path));
  }
  std::set<std::string> read;

 private:
  KnownFiles& below_;
  std::mutex mutex_;
};

class Parent : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    std::filesystem::create_directories(source() + "/a/b/c");
    for (const char* name : {"/top", "/a/one", "/a/b/two", "/a/b/c/three", "/a/b/c/four"}) {
      write_file(source() + name, name);
    }
    const auto stored = snapshot_source();
    ASSERT_TRUE(stored.ok());
    parent_ = *stored;
  }
  [[nodiscard]] std::string source() const { return path_ + "/source"; }

  // Captures again; which files were read.
  std::set<std::string> read_again(Timespec trusted_before = kEver,
                                   const std::string& path = volume_path(0)) {
    auto known = ParentFiles::open(*repository_, parent_, {{0, path}}, trusted_before);
    EXPECT_TRUE(known.ok());
    Counting counting(**known);
    const auto stored = snapshot_source(&counting);
    EXPECT_TRUE(stored.ok());
    EXPECT_TRUE(restore_path(*stored).ok());
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source())) {
      if (!entry.is_regular_file()) continue;
      const std::string below = entry.path().lexically_relative(source());
      EXPECT_EQ(read_back(target() + "/" + below), read_back(entry.path())) << below;
    }
    return counting.read;
  }

  Id parent_;
};

TEST_F(Parent, UnchangedFilesAreNotRead) {
  EXPECT_EQ(read_again(), std::set<std::string>{});
  EXPECT_LE(added_, 2U);
}

TEST_F(Parent, ChangedRenamedAndNewFilesAreRead) {
  write_file(source() + "/a/b/two", "changed");
  std::filesystem::rename(source() + "/a/b/c/three", source() + "/a/b/c/tree");
  write_file(source() + "/a/new", "new");
  EXPECT_EQ(read_again(), (std::set<std::string>{"a/b/two", "a/b/c/tree", "a/new"}));
}

TEST_F(Parent, ContentOfTheSameSizeAndTimeIsSeenByItsChangeTime) {
  struct stat before{};
  ASSERT_EQ(::stat((source() + "/top").c_str(), &before), 0);
  write_file(source() + "/top", "/tip");
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, (source() + "/top").c_str(), times, 0), 0);
  EXPECT_EQ(read_again(), (std::set<std::string>{"top"}));
}

TEST_F(Parent, AnExchangedDirectoryIsReadWhereItsFilesAreOthers) {
  std::filesystem::create_directories(source() + "/x/c");
  write_file(source() + "/x/c/three", "/a/b/c/three");
  std::filesystem::rename(source() + "/a/b/c", source() + "/old");
  std::filesystem::rename(source() + "/x/c", source() + "/a/b/c");
  EXPECT_EQ(read_again(), (std::set<std::string>{"a/b/c/three", "old/four", "old/three"}));
}

TEST_F(Parent, FilesThatAreTooYoungToTrustAreRead) {
  struct stat stat{};
  ASSERT_EQ(::stat((source() + "/a/one").c_str(), &stat), 0);
  const Timespec just{.seconds = stat.st_ctim.tv_sec,
                      .nanoseconds = static_cast<std::uint32_t>(stat.st_ctim.tv_nsec)};
  const std::set<std::string> read = read_again(just);
  EXPECT_TRUE(read.contains("a/one"));
  EXPECT_EQ(read_again(Timespec{}).size(), 5U);
}

TEST_F(Parent, AVolumeThatTheParentLacksKnowsNothing) {
  EXPECT_EQ(read_again(kEver, "/volumes/7").size(), 5U);
  EXPECT_EQ(read_again(kEver, "/volumes/0/a").size(), 5U);
  EXPECT_EQ(ParentFiles::open(*repository_, codec::sha256({}), {}, kEver).error().code(),
            Code::kNotFound);
}

TEST_F(Parent, BlobsThatAreGoneMakeTheFileBeRead) {
  std::filesystem::remove_all(path_ + "/repo/index");
  std::filesystem::create_directory(path_ + "/repo/index");
  auto known = ParentFiles::open(*repository_, parent_, {{0, volume_path(0)}}, kEver);
  EXPECT_FALSE(known.ok());  // its trees are gone, too
}

TEST_F(Parent, OwnersModesAndAttributesOfUnchangedFilesAreKept) {
  const std::string file = source() + "/a/b/c/four";
  ASSERT_EQ(::chmod(file.c_str(), 04750), 0);
  ASSERT_TRUE(snapshot_source().ok());
  parent_ = *snapshot_source();
  EXPECT_EQ(read_again(), std::set<std::string>{});
  struct stat stat{};
  ASSERT_EQ(::stat((target() + "/a/b/c/four").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777U, 04750U);
}

TEST_F(Parent, MoreDirectoriesThanAreKeptInMemory) {
  for (int i = 0; i < 600; ++i) {
    const std::string dir = source() + "/many/" + std::to_string(i) + "/below";
    std::filesystem::create_directories(dir);
    write_file(dir + "/file", std::to_string(i));
  }
  parent_ = *snapshot_source();
  EXPECT_EQ(read_again(), std::set<std::string>{});
}

}  // namespace
}  // namespace cairn::repository
