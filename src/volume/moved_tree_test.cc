#include "volume/moved_tree.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace cairn::volume {
namespace {

class MovedTreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-moved-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    for (const std::string side : {"/root", "/aside"}) {
      std::filesystem::create_directory(base_ + side);
    }
    root_.emplace(os::Dir::open(base_ + "/root").value());
    aside_.emplace(os::Dir::open(base_ + "/aside").value());
  }
  void TearDown() override {
    root_.reset();
    aside_.reset();
    std::filesystem::remove_all(base_);
  }

  void write(const std::string& path, const std::string& content) const {
    std::ofstream(base_ + path) << content;
  }
  [[nodiscard]] std::string read(const std::string& path) const {
    std::ostringstream out;
    out << std::ifstream(base_ + path).rdbuf();
    return out.str();
  }
  [[nodiscard]] bool exists(const std::string& path) const {
    return std::filesystem::exists(base_ + path);
  }

  std::string base_;
  std::optional<os::Dir> root_;
  std::optional<os::Dir> aside_;
};

TEST_F(MovedTreeTest, MovingTwiceIsMovingOnce) {
  write("/root/both", "old");
  write("/root/old", "only old");
  write("/root/lost+found", "of e2fsck");
  write("/aside/both", "new");
  write("/aside/new", "only new");
  const auto wanted = list_moved(*aside_);
  const auto other = list_moved(*root_);
  ASSERT_TRUE(wanted.ok() && other.ok());
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(move_into(*root_, *aside_, *wanted, *other).ok());
    EXPECT_EQ(read("/root/both"), "new");
    EXPECT_EQ(read("/root/new"), "only new");
    EXPECT_FALSE(exists("/root/old"));
    EXPECT_EQ(read("/root/lost+found"), "of e2fsck");
    EXPECT_EQ(read("/aside/both"), "old");
    EXPECT_EQ(read("/aside/old"), "only old");
    EXPECT_TRUE(check_entries(*root_, *wanted).ok());
  }
  ASSERT_TRUE(move_into(*root_, *aside_, *other, *wanted).ok());
  EXPECT_EQ(read("/root/both"), "old");
  EXPECT_EQ(read("/aside/new"), "only new");
}

TEST_F(MovedTreeTest, WhatSomebodyTookAwayIsToldAndNotMadeUp) {
  write("/aside/new", "new");
  const auto wanted = list_moved(*aside_);
  const auto other = list_moved(*root_);
  ASSERT_TRUE(wanted.ok() && other.ok());
  std::filesystem::rename(base_ + "/aside/new", base_ + "/elsewhere");
  write("/aside/new", "an impostor");
  const Status moved = move_into(*root_, *aside_, *wanted, *other);
  ASSERT_FALSE(moved.ok());
  EXPECT_EQ(moved.error().code(), Code::kCorrupt);
  EXPECT_FALSE(exists("/root/new"));
}

TEST_F(MovedTreeTest, ARecordComesBackAsItWas) {
  write("/root/\xff\n\"", "a name that is no text");
  std::filesystem::create_directory(base_ + "/root/sub");
  const auto tree = list_moved(*root_);
  ASSERT_TRUE(tree.ok());
  const auto back = parse_moved_tree(nlohmann::json::parse(to_json(*tree).dump()));
  ASSERT_TRUE(back.ok());
  ASSERT_EQ(back->entries.size(), 2U);
  EXPECT_EQ(back->root, tree->root);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back->entries[i].name, tree->entries[i].name);
    EXPECT_EQ(back->entries[i].handle, tree->entries[i].handle);
    EXPECT_EQ(back->entries[i].mtime, tree->entries[i].mtime);
  }
  EXPECT_FALSE(parse_moved_tree({{"root", "no tree"}, {"entries", nlohmann::json::array()}}).ok());
}

// The bound is on what the record takes, not on a count alone: a byte of a name may take five.
TEST_F(MovedTreeTest, ARootThatHasNoRoomInTheJournalIsRefused) {
  const auto add = [&](std::size_t count, const std::string& filler) {
    for (std::size_t i = 0; i < count; ++i) write("/root/" + std::to_string(i) + filler, "");
  };
  const std::string escaped(240, '\x01');
  add(300, escaped);
  const auto fits = list_moved(*root_);
  ASSERT_TRUE(fits.ok()) << fits.error().message();
  EXPECT_LE(to_json(*fits).dump().size(), kMovedTreeBytesMax);
  add(600, escaped);
  const auto names = list_moved(*root_);
  ASSERT_FALSE(names.ok());
  EXPECT_EQ(names.error().code(), Code::kInvalid);
  EXPECT_NE(names.error().message().find("names"), std::string::npos);
}

TEST_F(MovedTreeTest, ARootOfTooManyEntriesIsRefused) {
  for (std::size_t i = 0; i < kMovedEntriesMax; ++i) write("/root/" + std::to_string(i), "");
  EXPECT_TRUE(list_moved(*root_).ok());
  write("/root/one more", "");
  const auto many = list_moved(*root_);
  ASSERT_FALSE(many.ok());
  EXPECT_EQ(many.error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace cairn::volume
