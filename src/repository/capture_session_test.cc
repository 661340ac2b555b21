// A session must store what the volume held at the cut, whatever was done to it before and after,
// and read only what it must. Every test changes a tree between the stages and compares.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "repository/test_capture.h"

namespace cairn::repository {
namespace {

TEST_F(CaptureSessionTest, ReadsNothingInTheCutWhereNothingChanged) {
  fs::create_directories(source_path("a/b"));
  write_file(source_path("a/one"), "1");
  write_file(source_path("a/b/two"), std::string(700'000, 'x'));
  fs::create_symlink("one", source_path("a/link"));
  let_clock_tick();
  begin();
  EXPECT_EQ(pass().files_read, 2U);
  const CutResult result = cut();
  EXPECT_EQ(result.files_changed, 0U);
  EXPECT_EQ(result.entries, 5U);
  EXPECT_EQ(stored(), live());
  EXPECT_EQ(stats_.files, 3U);
  EXPECT_EQ(stats_.dirs, 3U);
  EXPECT_EQ(stats_.bytes, 700'001U);
}

TEST_F(CaptureSessionTest, StoresTheInstantOfTheCut) {
  write_file(source_path("changed"), "before");
  write_file(source_path("removed"), "gone at the cut");
  write_file(source_path("replaced"), "first inode");
  write_file(source_path("later"), "as at the cut");
  let_clock_tick();
  begin();
  pass();
  write_file(source_path("changed"), "after");
  fs::remove(source_path("removed"));
  write_file(source_path("new"), "made between");
  write_file(source_path("staged"), "secnd inode");
  fs::rename(source_path("staged"), source_path("replaced"));
  const auto at_cut = live();
  EXPECT_EQ(cut().files_changed, 3U);
  write_file(source_path("later"), "too late");
  write_file(source_path("changed"), "too late");
  fs::remove(source_path("new"));
  EXPECT_EQ(stored(), at_cut);
}

TEST_F(CaptureSessionTest, KeepsDirectoriesApartThatWereSwappedByRename) {
  fs::create_directories(source_path("left"));
  fs::create_directories(source_path("right"));
  write_file(source_path("left/file"), "of left");
  write_file(source_path("right/file"), "of right");
  let_clock_tick();
  begin();
  pass();
  ASSERT_EQ(::renameat2(AT_FDCWD, source_path("left").c_str(), AT_FDCWD,
                        source_path("right").c_str(), RENAME_EXCHANGE),
            0);
  // Both files are known by their directory's handle: nothing is read again.
  EXPECT_EQ(cut().files_changed, 0U);
  EXPECT_EQ(stored(), live());
  EXPECT_EQ(read_back(target() + "/left/file"), "of right");
}

// A directory that is none any more when it is opened is one that went away, and no failure.
TEST_F(CaptureSessionTest, PassesWhileDirectoriesAndOtherThingsTakeEachOthersNames) {
  constexpr int kNames = 50;
  constexpr int kPasses = 30;
  for (int i = 0; i < kNames; ++i) {
    fs::create_directories(source_path("d" + std::to_string(i)));
    write_file(source_path("f" + std::to_string(i)), "a file");
    fs::create_symlink("nowhere", source_path("l" + std::to_string(i)));
  }
  std::jthread swapper([this](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      const std::string name = std::to_string(i / 2 % kNames);
      const std::string other = source_path((i % 2 == 0 ? "f" : "l") + name);
      ::renameat2(AT_FDCWD, source_path("d" + name).c_str(), AT_FDCWD, other.c_str(),
                  RENAME_EXCHANGE);
    }
  });
  begin();
  for (int i = 0; i < kPasses; ++i) pass();
  swapper = {};
  cut();
  EXPECT_EQ(stored(), live());
}

TEST_F(CaptureSessionTest, SeesAStoreThroughAMappingThatWasDirtyBefore) {
  const std::string path = source_path("mapped");
  write_file(path, std::string(4096, 'a'));
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  auto* map = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  map[0] = 'b';  // dirty from here on: a second store moves no time
  let_clock_tick();
  begin();
  pass();
  map[1] = 'c';
  EXPECT_EQ(cut().files_changed, 1U);
  map[2] = 'd';
  EXPECT_EQ(stored().at("mapped"), "bc" + std::string(4094, 'a'));
  ::munmap(map, 4096);
  ::close(fd);
}

TEST_F(CaptureSessionTest, ReadsAgainWhatWasWrittenWhileThePassBegan) {
  begin();
  write_file(source_path("fresh"), "just now");  // younger than two ticks: not certain
  pass();
  EXPECT_EQ(cut().files_changed, 1U);
  EXPECT_EQ(stored(), live());
}

TEST_F(CaptureSessionTest, TellsAReusedInodeFromTheFileThatHadIt) {
  write_file(source_path("victim"), "old content");
  struct stat old_stat{};
  ASSERT_EQ(::stat(source_path("victim").c_str(), &old_stat), 0);
  let_clock_tick();
  begin();
  pass();
  fs::remove(source_path("victim"));
  write_file(source_path("victim"), "new content");
  const std::array<timespec, 2> times{old_stat.st_atim, old_stat.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, source_path("victim").c_str(), times.data(), 0), 0);
  EXPECT_EQ(cut().files_changed, 1U);
  EXPECT_EQ(stored().at("victim"), "new content");
}

// The handles in what is known are made wrong, as if the numbers had been taken by other objects at
// the very times of the old ones.
TEST_F(CaptureSessionTest, AsksForHandlesWhereADirectoryChangedSinceAnEarlierCapture) {
  fs::create_directories(source_path("dir"));
  write_file(source_path("top"), "in the root, of which nothing above tells that it is as it was");
  write_file(source_path("dir/inner"), "content");
  let_clock_tick();
  capture();
  const FactsFile known = session_->take_facts();
  const auto others = [&] {
    auto out = FactsFile::create(*scratch_);
    EXPECT_TRUE(out.ok());
    for (const std::string name : {"", "dir"}) {
      const os::FileId id = *os::file_id_of(os::Dir::open(source_path(name))->fd());
      auto facts = known.find(0, id).value().value();
      for (Fact& fact : facts.entries) {
        if (fact.node.type == NodeType::kFile) fact.id.bytes.back() ^= std::byte{1};
      }
      EXPECT_TRUE(out->put(0, id, facts).ok());
    }
    EXPECT_TRUE(out->seal().ok());
    return std::move(*out);
  };
  begin(others());
  EXPECT_EQ(pass().files_read, 1U);  // top
  write_file(source_path("dir/new"), "moves the directory's times");
  begin(others());
  EXPECT_EQ(pass().files_read, 3U);
  cut();
  EXPECT_EQ(stored(), live());
}

TEST_F(CaptureSessionTest, CopiesOnlyTheChunksOfALargeFileThatChanged) {
  std::string pages(24U << 20U, '\0');
  for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<char>(i * 31 + i / 4096);
  write_file(source_path("db"), pages);
  let_clock_tick();
  begin();
  pass();
  {
    std::fstream db(source_path("db"), std::ios::in | std::ios::out | std::ios::binary);
    db.seekp(9'000'000);
    db << "a changed page";
  }
  const auto at_cut = live();
  const CutResult result = cut();
  EXPECT_EQ(result.files_changed, 1U);
  EXPECT_LT(result.bytes_copied, 1U << 20U);
  EXPECT_EQ(result.bytes_copied == 0, result.bytes_cloned == pages.size());
  write_file(source_path("db"), "too late");
  EXPECT_EQ(stored(), at_cut);
}

TEST_F(CaptureSessionTest, KeepsALargeFileThatGrewOrShrank) {
  write_file(source_path("grown"), std::string(16U << 20U, 'g'));
  write_file(source_path("shrunk"), std::string(16U << 20U, 's'));
  let_clock_tick();
  begin();
  pass();
  fs::resize_file(source_path("grown"), (16U << 20U) + 70'001);
  fs::resize_file(source_path("shrunk"), (5U << 20U) + 3);
  const auto at_cut = live();
  cut();
  write_file(source_path("grown"), "");
  EXPECT_EQ(stored(), at_cut);
}

TEST_F(CaptureSessionTest, KnowsWhatAnEarlierCaptureStored) {
  fs::create_directories(source_path("a/b"));
  write_file(source_path("a/one"), "1");
  write_file(source_path("a/b/two"), "2");
  let_clock_tick();
  capture();
  const Id volumes_before = tree_;
  const Id owner = codec::sha256(as_bytes("owner"));
  FactsFile facts = session_->take_facts();
  ASSERT_TRUE(facts.save(*scratch_, "facts", owner).ok());
  EXPECT_FALSE(FactsFile::load(*scratch_, "facts", Id{}).has_value());

  begin(FactsFile::load(*scratch_, "facts", owner));
  EXPECT_EQ(pass().files_read, 0U);
  EXPECT_EQ(cut().files_changed, 0U);
  EXPECT_EQ(stored(), live());
  // The manifest's node has the time; everything beneath is there already.
  EXPECT_LE(blobs_added_, 2U);
  EXPECT_NE(tree_, volumes_before);
}

TEST_F(CaptureSessionTest, ReadsAgainWhatTheRepositoryLost) {
  write_file(source_path("file"), "content");
  let_clock_tick();
  capture();
  FactsFile facts = session_->take_facts();
  session_.reset();
  repository_.reset();
  fs::remove_all(path_ + "/repo");
  auto fresh = Repository::init(path_ + "/repo", kTestPassword, kTestOwner);
  ASSERT_TRUE(fresh.ok());
  repository_ = std::move(*fresh);
  begin(std::move(facts));
  EXPECT_EQ(pass().files_read, 1U);
  cut();
  EXPECT_EQ(stored(), live());
}

TEST_F(CaptureSessionTest, ReadsOnlyWhatChangedSinceAnEarlierCapture) {
  fs::create_directories(source_path("a/b/c"));
  for (const char* name : {"top", "a/one", "a/b/two", "a/b/c/three", "a/b/c/four"}) {
    write_file(source_path(name), name);
  }
  ASSERT_EQ(::chmod(source_path("a/b/c/four").c_str(), 04750), 0);
  let_clock_tick();
  capture();
  struct stat before{};
  ASSERT_EQ(::stat(source_path("top").c_str(), &before), 0);
  write_file(source_path("top"), "tip");  // of the same size, and soon of the same mtime
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, source_path("top").c_str(), times, 0), 0);
  write_file(source_path("a/new"), "new");
  fs::rename(source_path("a/b/c/three"), source_path("a/b/c/tree"));
  let_clock_tick();
  begin(session_->take_facts());
  EXPECT_EQ(pass().files_read, 3U);
  EXPECT_EQ(cut().files_changed, 0U);
  EXPECT_EQ(stored(), live());
  struct stat after{};
  ASSERT_EQ(::stat((target() + "/a/b/c/four").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode & 07777U, 04750U);
}

// Read in a pass, in the cut, or not again: what is left out of the snapshot is told each time.
TEST_F(CaptureSessionTest, TellsOfAttributesThatHaveNoPlace) {
  for (const char* name : {"early", "late"}) {
    write_file(source_path(name), name);
    ASSERT_EQ(::setxattr(source_path(name).c_str(), "user.\xff", "1", 1, 0), 0);
  }
  fs::create_directory(source_path("dir"));
  ASSERT_EQ(::setxattr(source_path("dir").c_str(), "user.\xfe", "1", 1, 0), 0);
  let_clock_tick();
  begin();
  pass();
  write_file(source_path("late"), "later");
  EXPECT_EQ(cut().files_changed, 1U);
  EXPECT_EQ(stored(), live());
  EXPECT_EQ(stats_.warnings.size(), 3U);
  begin(session_->take_facts());
  pass();
  cut();
  stored();
  EXPECT_EQ(stats_.warnings.size(), 3U);
}

// An earlier capture's size is what is expected, and what is done never goes beyond it.
TEST_F(CaptureSessionTest, ExpectsWhatAnEarlierCaptureHad) {
  fs::create_directories(source_path("a"));
  write_file(source_path("a/file"), "content");
  let_clock_tick();
  begin();
  pass();
  EXPECT_EQ(told_.counts["read"].items_total, 0U);
  cut();
  stored();
  begin(session_->take_facts());
  pass();
  EXPECT_EQ(told_.counts["read"].items_total, 2U);
  EXPECT_EQ(told_.counts["read"].items_done, 2U);
  EXPECT_EQ(told_.counts["read"].bytes_total, 7U);
  cut();
  stored();
  write_file(source_path("more"), "more content");
  begin(session_->take_facts());
  pass();
  EXPECT_EQ(told_.counts["read"].items_total, 3U);
  EXPECT_EQ(told_.counts["read"].items_done, 3U);
  EXPECT_EQ(told_.counts["read"].bytes_total, 19U);
}

TEST_F(CaptureSessionTest, EndsTheCutAtItsDeadline) {
  write_file(source_path("file"), "content");
  begin();
  pass();
  const auto late = session_->cut(monotonic_ms());
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code(), Code::kConflict);
}

TEST_F(CaptureSessionTest, ReadsEverythingAgainAfterTheClockWasSet) {
  write_file(source_path("file"), "content");
  let_clock_tick();
  begin();
  EXPECT_EQ(pass().files_read, 1U);
  EXPECT_EQ(pass().files_read, 0U);
  step_ns_ = -3'600'000'000'000;
  EXPECT_EQ(pass().files_read, 1U);
  EXPECT_EQ(pass().files_read, 0U);
  step_ns_ = 0;
  const auto result = session_->cut(0);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Code::kConflict);
}

TEST_F(CaptureSessionTest, SurveysWithoutReading) {
  fs::create_directories(source_path("a"));
  write_file(source_path("a/file"), "content");
  write_file(source_path("other"), "content");
  let_clock_tick();
  const std::vector<ArchiveRoot> roots{{0, &*source_}};
  const auto first = survey(roots, nullptr);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->pass.entries, 3U);
  EXPECT_EQ(first->pass.files_read, 2U);
  EXPECT_EQ(first->pass.bytes_read, 14U);
  begin();
  pass();
  cut();
  stored();
  const FactsFile facts = session_->take_facts();
  write_file(source_path("other"), "changed");
  const auto second = survey(roots, &facts);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->pass.files_read, 1U);
  EXPECT_EQ(second->lately.files_read, 1U);
  EXPECT_EQ(second->lately.bytes_read, 7U);
}

TEST_F(CaptureSessionTest, KeepsHardLinksThatMovedBetweenDirectories) {
  fs::create_directories(source_path("a"));
  fs::create_directories(source_path("b"));
  write_file(source_path("a/one"), "shared");
  fs::create_hard_link(source_path("a/one"), source_path("a/two"));
  let_clock_tick();
  begin();
  pass();
  fs::rename(source_path("a/two"), source_path("b/two"));
  cut();
  EXPECT_EQ(stored(), live());
  EXPECT_EQ(fs::hard_link_count(target() + "/a/one"), 2U);
  EXPECT_TRUE(fs::equivalent(target() + "/a/one", target() + "/b/two"));
}

// One name is compared chunk by chunk with what the pass read, the other is new and no longer looks
// like a file of pages: cut into chunks each in its way, they were two files after a restore.
TEST_F(CaptureSessionTest, KeepsHardLinksWhoseNamesAreReadInDifferentWays) {
  const std::string text((2 << 20) + 7, 't');
  write_file(source_path("old"), "");
  fs::resize_file(source_path("old"), text.size());
  let_clock_tick();
  begin();
  pass();
  write_file(source_path("old"), text);
  fs::create_directory(source_path("dir"));
  fs::create_hard_link(source_path("old"), source_path("dir/new"));
  EXPECT_EQ(cut().files_changed, 2U);
  EXPECT_EQ(stored(), live());
  EXPECT_TRUE(fs::equivalent(target() + "/old", target() + "/dir/new"));
}

}  // namespace
}  // namespace cairn::repository
