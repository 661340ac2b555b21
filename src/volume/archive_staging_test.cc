// Nothing that an archive says leads a write out of the staging directory: each test is an attack,
// and looks at what lies beside it.
#include "volume/archive_staging.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace cairn::volume {
namespace {

using codec::TarEntry;
using codec::TarType;
using Path = std::vector<std::string>;

TarEntry entry(TarType type, std::uint32_t mode = 0644) {
  TarEntry out;
  out.type = type;
  out.mode = mode;
  out.mtime = {.seconds = 1'000'000, .nanoseconds = 7};
  return out;
}

TarEntry symlink_to(std::string target) {
  TarEntry out = entry(TarType::kSymlink);
  out.link = std::move(target);
  return out;
}

class StagingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-staging-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    std::filesystem::create_directory(base_ + "/inside");
    std::filesystem::create_directory(base_ + "/beside");
    std::ofstream(base_ + "/beside/victim") << "untouched";
    staging_.emplace(std::move(os::Dir::open(base_ + "/inside")).value(), StagingKeeps{});
  }
  void TearDown() override {
    struct stat victim{};
    ASSERT_EQ(::lstat((base_ + "/beside/victim").c_str(), &victim), 0);
    EXPECT_EQ(victim.st_nlink, 1U);
    EXPECT_EQ(content("/beside/victim"), "untouched");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(base_ + "/beside"), {}), 1);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(base_), {}), 2);
    staging_.reset();
    // Who is not root must be able to write into a directory to empty it.
    for (const auto& entry : std::filesystem::recursive_directory_iterator(base_)) {
      if (!entry.is_directory() || entry.is_symlink()) continue;
      std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all,
                                   std::filesystem::perm_options::add);
    }
    std::filesystem::remove_all(base_);
  }
  [[nodiscard]] std::string content(const std::string& path) const {
    std::ostringstream out;
    out << std::ifstream(base_ + path).rdbuf();
    return out.str();
  }
  Status add_file(const Path& path, const std::string& text = "") {
    TarEntry file = entry(TarType::kFile);
    file.size_bytes = text.size();
    TRY(staging_->add_file(path, file));
    return text.empty() ? Status() : staging_->write(0, as_bytes(text));
  }

  std::string base_;
  std::optional<Staging> staging_;
};

TEST_F(StagingTest, MakesWhatItIsTold) {
  ASSERT_TRUE(staging_->add_directory({}, entry(TarType::kDirectory, 0751)).ok());
  ASSERT_TRUE(staging_->add_directory({"ro"}, entry(TarType::kDirectory, 0555)).ok());
  ASSERT_TRUE(add_file({"ro", "file"}, "content").ok());
  ASSERT_TRUE(add_file({"implied", "by", "path"}, "x").ok());
  ASSERT_TRUE(staging_->add_hard_link({"again"}, {"ro", "file"}).ok());
  ASSERT_TRUE(staging_->add_symlink({"link"}, symlink_to("anywhere")).ok());
  ASSERT_TRUE(staging_->add_hard_link({"ro", "link2"}, {"link"}).ok());
  ASSERT_TRUE(staging_->finish().ok());
  EXPECT_EQ(content("/inside/again"), "content");
  EXPECT_EQ(content("/inside/implied/by/path"), "x");
  struct stat file{};
  ASSERT_EQ(::lstat((base_ + "/inside/ro/file").c_str(), &file), 0);
  EXPECT_EQ(file.st_nlink, 2U);
  EXPECT_EQ(file.st_mtim.tv_nsec, 7);
  struct stat link{};
  ASSERT_EQ(::lstat((base_ + "/inside/ro/link2").c_str(), &link), 0);
  EXPECT_TRUE(S_ISLNK(link.st_mode));
  EXPECT_EQ(link.st_nlink, 2U);
  struct stat dir{};
  ASSERT_EQ(::lstat((base_ + "/inside/ro").c_str(), &dir), 0);
  EXPECT_EQ(dir.st_mode & 07777U, 0555U);
  EXPECT_EQ(dir.st_mtim.tv_sec, 1'000'000);
  ASSERT_EQ(::lstat((base_ + "/inside/implied").c_str(), &dir), 0);
  EXPECT_EQ(dir.st_mode & 07777U, 0755U);
}

TEST_F(StagingTest, AttackWriteThroughASymlink) {
  ASSERT_TRUE(staging_->add_symlink({"out"}, symlink_to("../beside")).ok());
  ASSERT_TRUE(add_file({"out", "victim"}, "evil").ok()) << "lands in a directory of staging's own";
  EXPECT_FALSE(staging_->finish().ok()) << "and the link finds its name taken";
  EXPECT_EQ(content("/inside/out/victim"), "evil");
}

TEST_F(StagingTest, AttackASymlinkThatStandsThereAlready) {
  std::filesystem::create_symlink("../beside", base_ + "/inside/out");
  EXPECT_FALSE(add_file({"out", "victim"}, "evil").ok());
  std::filesystem::create_symlink("../beside/victim", base_ + "/inside/file");
  EXPECT_FALSE(add_file({"file"}, "evil").ok());
  EXPECT_FALSE(staging_->add_hard_link({"hard"}, {"file"}).ok()) << "a link to a link made outside";
}

TEST_F(StagingTest, AttackADirectoryReplacedByASymlink) {
  ASSERT_TRUE(add_file({"dir", "one"}).ok());
  ASSERT_TRUE(staging_->add_symlink({"dir"}, symlink_to("../beside")).ok());
  ASSERT_TRUE(add_file({"dir", "victim"}, "evil").ok());
  EXPECT_FALSE(staging_->finish().ok());
  EXPECT_TRUE(std::filesystem::is_directory(base_ + "/inside/dir"));
}

TEST_F(StagingTest, AttackNamesGivenTwice) {
  ASSERT_TRUE(add_file({"a"}).ok());
  EXPECT_FALSE(add_file({"a"}).ok());
  EXPECT_FALSE(add_file({"a", "below-a-file"}).ok());
  EXPECT_FALSE(staging_->add_directory({"a"}, entry(TarType::kDirectory)).ok());
  ASSERT_TRUE(staging_->add_directory({"d"}, entry(TarType::kDirectory)).ok());
  EXPECT_FALSE(staging_->add_directory({"d"}, entry(TarType::kDirectory)).ok());
  EXPECT_FALSE(add_file({"d"}).ok());
  EXPECT_FALSE(staging_->add_hard_link({"d"}, {"a"}).ok());
}

TEST_F(StagingTest, AttackHardLinksToWhatIsNotThere) {
  ASSERT_TRUE(staging_->add_directory({"d"}, entry(TarType::kDirectory)).ok());
  EXPECT_FALSE(staging_->add_hard_link({"a"}, {"missing"}).ok());
  EXPECT_FALSE(staging_->add_hard_link({"a"}, {"d", "missing"}).ok());
  EXPECT_FALSE(staging_->add_hard_link({"a"}, {"nowhere", "at-all"}).ok());
  EXPECT_FALSE(staging_->add_hard_link({"a"}, {"d"}).ok()) << "a directory";
}

TEST_F(StagingTest, LeavesOutLinksToWhatWasLeftOut) {
  ASSERT_TRUE(staging_->skip({"fifo"}).ok());
  ASSERT_TRUE(staging_->add_hard_link({"fifo2"}, {"fifo"}).ok());
  ASSERT_TRUE(staging_->add_hard_link({"fifo3"}, {"fifo2"}).ok());
  ASSERT_TRUE(staging_->finish().ok());
  EXPECT_TRUE(std::filesystem::is_empty(base_ + "/inside"));
}

TEST_F(StagingTest, GoesDeep) {
  os::raise_descriptor_limit();
  const Path path(900, "d");
  ASSERT_TRUE(add_file(path, "deep").ok());
  ASSERT_TRUE(staging_->finish().ok());
  staging_.reset();
  const auto base = os::Dir::open(base_);
  ASSERT_TRUE(base.ok());
  EXPECT_TRUE(base->remove_tree("inside").ok());
  ASSERT_TRUE(base->make_dir("inside", 0700).ok());
}

}  // namespace
}  // namespace cairn::volume
