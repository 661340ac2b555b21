// Trees that are hard to keep exactly: deeper than a path or a stack, long names, names in several
// places, and what is said about them while they are read.
#include <sys/stat.h>

#include <mutex>

#include "repository/checker.h"
#include "repository/test_repository.h"

namespace cairn::repository {
namespace {

constexpr std::size_t kDeep = 3000;

class Fidelity : public RepositoryTest {
 protected:
  // Trees that are deeper than a path are removed by descriptor.
  void TearDown() override {
    const auto base = os::Dir::open(path_);
    ASSERT_TRUE(base.ok());
    EXPECT_TRUE(base->remove_tree("source").ok());
    EXPECT_TRUE(base->remove_tree("target").ok());
    RepositoryTest::TearDown();
  }
  [[nodiscard]] std::string source() const { return path_ + "/source"; }

  // The directory so many levels of that name below base; made where make says so.
  static Result<os::Dir> below(const std::string& base,
                               const std::string& name,
                               std::size_t levels,
                               bool make) {
    TRY_ASSIGN(os::Dir dir, os::Dir::open(base));
    for (std::size_t i = 0; i < levels; ++i) {
      if (make) TRY(dir.make_dir(name, 0755));
      TRY_ASSIGN(dir, dir.open_dir(name));
    }
    return dir;
  }
};

// Keeps what it is told.
class Recorder final : public Progress {
 public:
  void phase(std::string_view name) override {
    const std::scoped_lock lock(mutex_);
    reads_ = name == "read";
  }
  void count(const Count& count) override {
    const std::scoped_lock lock(mutex_);
    if (reads_) counts.push_back(count);
  }
  void warn(std::string_view) override {}
  std::vector<Count> counts;  // of the phase that reads

 private:
  std::mutex mutex_;
  bool reads_ = false;
};

TEST_F(Fidelity, TreesDeeperThanAPathAreKept) {
  const std::string name(40, 'd');
  {
    const auto deepest = below(source(), name, kDeep, true);
    ASSERT_TRUE(deepest.ok()) << deepest.error().message();
    ASSERT_TRUE(deepest->publish_file("file", as_bytes("from far below"), 0640).ok());
    const auto file = deepest->open_path("file");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(deepest->link_file(*file, "same").ok());
    const auto half = below(source(), name, kDeep / 2, false);
    ASSERT_TRUE(half.ok());
    ASSERT_TRUE(half->link_file(*file, "z").ok());
  }
  const auto stored = snapshot_source();
  ASSERT_TRUE(stored.ok()) << stored.error().message();
  EXPECT_EQ(measure(*repository_, *stored, volume_path(0))->entries, kDeep + 4);
  const auto findings = verify_snapshot(*repository_, *stored, progress_, {});
  ASSERT_TRUE(findings.ok());
  EXPECT_TRUE(findings->empty());
  const Status restored = restore_path(*stored);
  ASSERT_TRUE(restored.ok()) << restored.error().message();
  const auto copy = below(target(), name, kDeep, false);
  ASSERT_TRUE(copy.ok()) << copy.error().message();
  EXPECT_EQ(copy->read_file("file", 100).value(), "from far below");
  const os::Stat file = copy->stat("file").value();
  EXPECT_EQ(file.links, 3U);
  EXPECT_EQ(file.mode, 0640U);
  EXPECT_EQ(copy->stat("same")->inode, file.inode);
  EXPECT_EQ(below(target(), name, kDeep / 2, false)->stat("z")->inode, file.inode);
  // What a failure leaves of it is let go of level by level, not by recursion.
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(archive_source(stop.get_token()).error().code(), Code::kCancelled);
}

TEST_F(Fidelity, DirectoriesBelowTheLimitOfDepthAreRefused) {
  ASSERT_TRUE(below(source(), "d", 4097, true).ok());
  const auto pending = archive_source();
  ASSERT_FALSE(pending.ok());
  EXPECT_EQ(pending.error().code(), Code::kInvalid);
  // In two steps: removing has a limit of its own.
  ASSERT_TRUE(below(source(), "d", 2000, false)->remove_tree("d").ok());
}

TEST_F(Fidelity, LongNamesAndTargets) {
  const std::string name(255, 'n');
  const std::string link(4095, 'l');
  const auto deepest = below(source(), name, 40, true);
  ASSERT_TRUE(deepest.ok());
  ASSERT_TRUE(deepest->publish_file(name.substr(1), as_bytes("x"), 0600).ok());
  ASSERT_TRUE(deepest->make_symlink(link, "link").ok());
  const auto stored = snapshot_source();
  ASSERT_TRUE(stored.ok()) << stored.error().message();
  ASSERT_TRUE(restore_path(*stored).ok());
  const auto copy = below(target(), name, 40, false);
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(os::read_link(copy->open_path("link").value()).value(), link);
  EXPECT_EQ(copy->read_file(name.substr(1), 10).value(), "x");
}

TEST_F(Fidelity, NamesOutsideOfTheVolumeAreReported) {
  write_file(source() + "/inside", "1");
  std::filesystem::create_hard_link(source() + "/inside", source() + "/inside2");
  write_file(source() + "/both", "2");
  std::filesystem::create_hard_link(source() + "/both", path_ + "/outside/both");
  const auto pending = archive_source();
  ASSERT_TRUE(pending.ok());
  EXPECT_EQ(pending->result.roots[0].links_outside, 1U);
  EXPECT_EQ(pending->result.roots[0].warnings.size(), 1U);
}

TEST_F(Fidelity, ProgressStaysBelowTheTruthAndEndsAtIt) {
  std::filesystem::create_directory(source() + "/dir");
  write_file(source() + "/dir/pages", std::string(24 << 20, 'p'));
  write_file(source() + "/dir/text", std::string((9 << 20) + 1, 't'));
  write_file(source() + "/small", "small");
  Recorder recorder;
  const auto pending = archive_source(recorder);
  ASSERT_TRUE(pending.ok());
  ASSERT_FALSE(recorder.counts.empty());
  const Progress::Count last = recorder.counts.back();
  EXPECT_EQ(last.bytes_done, (24U << 20U) + (9U << 20U) + 1 + 5);
  EXPECT_EQ(last.bytes_done, pending->result.roots[0].bytes);
  EXPECT_EQ(last.items_done, 4U);
  for (const Progress::Count& count : recorder.counts) {
    EXPECT_LE(count.bytes_done, last.bytes_done);
    EXPECT_LE(count.items_done, last.items_done);
  }
}

}  // namespace
}  // namespace cairn::repository
