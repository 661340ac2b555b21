// Facts must read back as they were put, in the files that share them, and be refused where
// damaged.
#include "repository/facts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>

#include "os/file.h"

namespace cairn::repository {
namespace {

namespace fs = std::filesystem;

TEST(FactsFile, ReadsBackWhatWasPut) {
  std::string pattern = "/tmp/cairn-facts-XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  auto dir = os::Dir::open(pattern);
  ASSERT_TRUE(dir.ok());
  auto file = FactsFile::create(*dir);
  ASSERT_TRUE(file.ok());
  Fact fact;
  fact.node = {.name = "n\xff", .type = NodeType::kFile, .mode = 04755, .mtime = {-5, 999'999'999}};
  fact.node.atime = fact.node.mtime;
  fact.node.xattrs = {{"user.x", std::string("\0y", 2)}};
  fact.node.content = {codec::sha256(as_bytes("c"))};
  fact.settled = true;
  const DirFacts facts{.entries = {fact}, .tree = codec::sha256(as_bytes("t"))};
  os::FileId id;
  id.bytes[3] = std::byte{7};
  ASSERT_TRUE(file->put(1, id, facts).ok());
  ASSERT_TRUE(file->put(2, id, {}).ok());
  ASSERT_TRUE(file->seal().ok());
  const auto found = file->find(1, id);
  ASSERT_TRUE(found.ok() && found->has_value());
  EXPECT_EQ((*found)->entries, facts.entries);
  EXPECT_EQ((*found)->tree, facts.tree);
  EXPECT_TRUE((*file->find(2, id))->entries.empty());
  EXPECT_FALSE((*file->find(3, id)).has_value());

  const Id owner = codec::sha256(as_bytes("owner"));
  ASSERT_TRUE(file->save(*dir, "facts", owner).ok());
  auto damaged = dir->open_file("facts", O_RDWR);
  ASSERT_TRUE(damaged.ok());
  ASSERT_TRUE(os::write_all_at(*damaged, as_bytes("X"), 40).ok());
  auto loaded = FactsFile::load(*dir, "facts", owner);
  ASSERT_TRUE(loaded.has_value());  // its index is whole
  EXPECT_EQ(loaded->find(1, id).error().code(), Code::kCorrupt);
  fs::resize_file(pattern + "/facts", 30);
  EXPECT_FALSE(FactsFile::load(*dir, "facts", owner).has_value());
  fs::remove_all(pattern);
}

// What a file shares with others is in it when it is saved, whatever became of them; what was
// replaced is not.
TEST(FactsFile, SharesWhatStaysAndSavesAllOfIt) {
  std::string pattern = "/tmp/cairn-facts-XXXXXX";
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  const auto dir = os::Dir::open(pattern);
  ASSERT_TRUE(dir.ok());
  const Id owner = codec::sha256(as_bytes("owner"));
  const auto facts_named = [](const std::string& name) {
    Fact fact;
    fact.node.name = name;
    return DirFacts{.entries = {fact}};
  };
  std::array<os::FileId, 3> ids{};
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i].bytes[0] = static_cast<std::byte>(i);
  {
    auto first = FactsFile::create(*dir);
    ASSERT_TRUE(first.ok());
    for (const os::FileId& id : ids) ASSERT_TRUE(first->put(0, id, facts_named("first")).ok());
    ASSERT_TRUE(first->seal().ok());
    ASSERT_TRUE(first->save(*dir, "facts", owner).ok());
  }
  {
    const auto known = FactsFile::load(*dir, "facts", owner);
    ASSERT_TRUE(known.has_value());
    auto cut = FactsFile::create(*dir);
    ASSERT_TRUE(cut.ok());
    cut->put_same(0, ids[0], (*known->find(0, ids[0]))->at, true);
    cut->put_same(0, ids[1], (*known->find(0, ids[1]))->at, false);
    ASSERT_TRUE(cut->seal().ok());
    EXPECT_TRUE((*cut->find(0, ids[0]))->whole);
    EXPECT_FALSE((*cut->find(0, ids[2])).has_value());
    auto stored = FactsFile::create(*dir);
    ASSERT_TRUE(stored.ok());
    stored->inherit(*cut);
    DirFacts changed = **cut->find(0, ids[1]);
    changed.entries[0].node.name = "second";
    ASSERT_TRUE(stored->replace(0, ids[1], changed).ok());
    ASSERT_TRUE(stored->replace(0, ids[1], changed).ok());
    ASSERT_TRUE(stored->seal().ok());
    ASSERT_TRUE(stored->save(*dir, "facts", owner).ok());
  }
  const auto loaded = FactsFile::load(*dir, "facts", owner);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->directories(), 2U);
  EXPECT_EQ((*loaded->find(0, ids[0]))->entries[0].node.name, "first");
  EXPECT_EQ((*loaded->find(0, ids[1]))->entries[0].node.name, "second");
  EXPECT_FALSE((*loaded->find(0, ids[2])).has_value());
  fs::remove_all(pattern);
}

}  // namespace
}  // namespace cairn::repository
