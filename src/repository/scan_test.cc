#include "repository/scan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

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
    return {};
  }

  std::vector<std::string> visits;
  std::size_t entries = 0;
  std::function<Status(const std::string& path)> on_enter;
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
