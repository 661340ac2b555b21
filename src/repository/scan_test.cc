#include "repository/scan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "os/file_id.h"

namespace cairn::repository {
namespace {

namespace fs = std::filesystem;

// Tells what it is told, and may act on it.
class Visits final : public ScanVisitor {
 public:
  Status enter(const std::shared_ptr<ScanDir>& dir) override {
    const std::string path = path_below(*dir, "");
    visits.push_back("+" + path);
    entries += dir->entries.size();
    return on_enter ? on_enter(path) : Status();
  }
  Status leave(const std::shared_ptr<ScanDir>& dir) override {
    visits.push_back("-" + path_below(*dir, ""));
    if (on_leave) on_leave(*dir);
    return {};
  }

  std::vector<std::string> visits;
  std::size_t entries = 0;
  std::function<Status(const std::string& path)> on_enter;
  std::function<void(const ScanDir& dir)> on_leave;
};

class ScanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-scan-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    dir_.emplace(os::Dir::open(base_).value());
  }
  void TearDown() override {
    dir_.reset();
    fs::remove_all(base_);
  }

  // Directories `wide` of them in each down to `deep`, with one file each.
  void fill(const fs::path& at, int wide, int deep) {
    fs::create_directories(at);
    std::ofstream(at / "file") << at;
    for (int i = 0; deep > 0 && i < wide; ++i) fill(at / std::to_string(i), wide, deep - 1);
  }

  // What a walk tells that looks at one after the other.
  void expect(const fs::path& at, const std::string& path, std::vector<std::string>& out) {
    out.push_back("+" + path);
    std::vector<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(at)) {
      if (entry.is_directory()) names.push_back(entry.path().filename());
    }
    std::ranges::sort(names);
    for (const std::string& name : names) {
      expect(at / name, path.empty() ? name : path + "/" + name, out);
    }
    out.push_back("-" + path);
  }

  Status walk(Visits& recorder) {
    ScanRoot root = std::move(ScanRoot::open({.dir = &*dir_})).value();
    const Status walked = walk_tree(root, nullptr, KnownFrom::kBefore, {}, recorder);
    counted_ = root.entries;
    return walked;
  }

  std::string base_;
  std::optional<os::Dir> dir_;
  std::uint64_t counted_ = 0;
};

TEST_F(ScanTest, TheVisitorIsToldInDepthFirstWhoeverLists) {
  fill(base_, 12, 2);
  fill(fs::path(base_) / "9" / "a" / "chain", 1, 40);
  std::vector<std::string> wanted;
  expect(base_, "", wanted);
  for (int round = 0; round < 5; ++round) {
    Visits recorder;
    ASSERT_TRUE(walk(recorder).ok());
    EXPECT_EQ(recorder.visits, wanted);
    EXPECT_EQ(recorder.entries, counted_);
  }
}

TEST_F(ScanTest, WhatGoesAwayBeforeItIsEnteredIsLeftOut) {
  fill(base_, 40, 1);
  Visits recorder;
  recorder.on_enter = [&](const std::string& path) -> Status {
    if (path == "0") fs::remove_all(fs::path(base_) / "7");
    return {};
  };
  // Listed before it went, or not: both are an instant of it.
  ASSERT_TRUE(walk(recorder).ok());
  EXPECT_EQ(std::ranges::count(recorder.visits, "+8"), 1);
  EXPECT_EQ(std::ranges::count(recorder.visits, "+7"), std::ranges::count(recorder.visits, "-7"));
}

// Where two names of a directory are exchanged xfs moves no time of what they name: a fact of two
// objects would pass for true later.
TEST_F(ScanTest, AFactIsOfOneObjectWhereNamesAreExchangedMeanwhile) {
  struct Object {
    os::FileId id;
    std::string content;  // the target of a link, the name of the file in a directory
  };
  std::map<std::uint64_t, Object> objects;  // by inode
  for (const char* name : {"dir a", "dir b", "link a", "link b"}) {
    if (name[0] == 'd') {
      ASSERT_TRUE(dir_->make_dir(name, 0700).ok());
      ASSERT_TRUE(dir_->open_dir(name)->publish_file(name, {}, 0600).ok());
    } else {
      ASSERT_TRUE(dir_->make_symlink(name, name).ok());
    }
    objects[dir_->stat(name)->inode] = {**os::find_file_id(*dir_, name), name};
  }
  std::size_t looked_at = 0;
  Visits recorder;
  recorder.on_leave = [&](const ScanDir& dir) {
    if (dir.above) {
      const auto is_it = [&](const auto& object) { return object.second.id == dir.id; };
      const auto object = std::ranges::find_if(objects, is_it);
      ASSERT_NE(object, objects.end());
      EXPECT_EQ(dir.entries.at(0).fact.node.name, object->second.content);
      return;
    }
    for (const ScannedEntry& entry : dir.entries) {
      const Node& node = entry.fact.node;
      const Object& object = objects.at(node.inode);
      EXPECT_EQ(entry.fact.id, object.id) << node.name;
      if (node.type == NodeType::kSymlink) {
        EXPECT_EQ(node.link_target, object.content);
      }
      ++looked_at;
    }
  };
  std::jthread writer([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      EXPECT_TRUE(dir_->exchange("dir a", *dir_, "dir b").ok());
      EXPECT_TRUE(dir_->exchange("link a", *dir_, "link b").ok());
    }
  });
  for (int round = 0; round < 3000 && !HasFailure(); ++round) ASSERT_TRUE(walk(recorder).ok());
  EXPECT_GT(looked_at, 0U);
}

TEST_F(ScanTest, AVisitorThatFailsEndsTheWalkAndItsThreads) {
  fill(base_, 40, 1);
  Visits recorder;
  recorder.on_enter = [](const std::string& path) -> Status {
    return path == "11" ? Status(Error(Code::kCancelled, "enough")) : Status();
  };
  const Status walked = walk(recorder);
  ASSERT_FALSE(walked.ok());
  EXPECT_EQ(walked.error().message(), "enough");
  EXPECT_EQ(recorder.visits.back(), "+11");
}

}  // namespace
}  // namespace cairn::repository
