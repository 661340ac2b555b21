// For tests of captures: a tree at source_path(), sessions over it, and what they stored restored
// again.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <thread>

#include "repository/capture_session.h"
#include "repository/scan.h"
#include "repository/test_repository.h"

namespace cairn::repository {

namespace fs = std::filesystem;

// What the phases told in the end.
class LastCounts final : public Progress {
 public:
  void phase(std::string_view name) override { at_ = name; }
  void count(const Count& count) override {
    const std::scoped_lock lock(mutex_);
    counts[at_] = count;
  }
  void warn(std::string_view) override {}
  std::map<std::string, Count> counts;

 private:
  std::mutex mutex_;
  std::string at_;
};

class CaptureSessionTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    auto source = os::Dir::open(source_path(""));
    ASSERT_TRUE(source.ok());
    source_ = std::move(*source);
  }
  void TearDown() override {
    session_.reset();  // it holds a lock of the repository
    RepositoryTest::TearDown();
  }
  [[nodiscard]] std::string source_path(const std::string& name) const {
    return path_ + "/source/" + name;
  }
  // What was written before is old enough to be told from what comes later.
  static void let_clock_tick() {
    const Timespec before = wall_now();
    while (!is_before(before, wall_now())) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(kClockTickNs));
    }
  }
  void begin(std::optional<FactsFile> known = std::nullopt) {
    session_.reset();
    auto session =
        CaptureSession::begin(*repository_, {{0, &*source_}},
                              {.scratch = &*scratch_,
                               .known = std::move(known),
                               .wall_offset_ns = [this] { return wall_offset_ns() + step_ns_; }},
                              told_, {});
    ASSERT_TRUE(session.ok()) << session.error().message();
    session_ = std::move(*session);
  }
  PassResult pass() {
    auto result = session_->pass();
    EXPECT_TRUE(result.ok()) << result.error().message();
    return result.ok() ? *result : PassResult{};
  }
  CutResult cut() {
    auto result = session_->cut(0);
    EXPECT_TRUE(result.ok()) << result.error().message();
    return result.ok() ? *result : CutResult{};
  }
  // A whole capture: what stored() gives.
  std::map<std::string, std::string> capture() {
    begin();
    pass();
    cut();
    return stored();
  }
  // Stores, restores, and gives the restored tree's files by path.
  std::map<std::string, std::string> stored() {
    auto pending = session_->store("{}");
    EXPECT_TRUE(pending.ok()) << pending.error().message();
    if (!pending.ok()) return {};
    blobs_added_ = pending->result.blobs_added;
    tree_ = pending->result.tree;
    stats_ = pending->result.roots.at(0);
    auto id = repository_->commit(std::move(*pending), {.time = wall_now(), .hostname = "test"});
    EXPECT_TRUE(id.ok()) << id.error().message();
    const Status restored = restore_path(*id);
    EXPECT_TRUE(restored.ok()) << restored.error().message();
    return files_of(target());
  }
  static std::map<std::string, std::string> files_of(const std::string& root) {
    std::map<std::string, std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      const std::string name = fs::relative(entry.path(), root);
      if (entry.is_symlink()) {
        out[name] = "-> " + fs::read_symlink(entry.path()).string();
      } else if (entry.is_directory()) {
        out[name] = "directory";
      } else {
        out[name] = read_back(entry.path());
      }
    }
    return out;
  }
  std::map<std::string, std::string> live() { return files_of(source_path("")); }

  std::optional<os::Dir> source_;
  LastCounts told_;
  std::unique_ptr<CaptureSession> session_;
  std::int64_t step_ns_ = 0;  // by which the wall clock was set
  std::uint64_t blobs_added_ = 0;
  Id tree_;
  RootStats stats_;
};

}  // namespace cairn::repository
