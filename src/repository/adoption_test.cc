// Snapshots of other programs: what is found in them, what is refused, what the new one shares.
#include "repository/adoption.h"

#include <fmt/format.h>

#include "repository/checker.h"
#include "repository/test_repository.h"
#include "repository/tree_path.h"

namespace cairn::repository {
namespace {

TEST(ParseTreePath, TakesAbsolutePathsOnly) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(parse_tree_path("/").value_or({"wrong"}), Parts());
  EXPECT_EQ(parse_tree_path("/srv/data").value_or({}), (Parts{"srv", "data"}));
  EXPECT_EQ(parse_tree_path("//srv///data//").value_or({}), (Parts{"srv", "data"}));
  EXPECT_EQ(parse_tree_path("/a b/\xff").value_or({}), (Parts{"a b", "\xff"}));
  for (const std::string path : {"", "srv", "./srv", "/..", "/a/../b", "/a/.", "C:\\data"}) {
    EXPECT_EQ(parse_tree_path(path).error().code(), Code::kInvalid) << path;
  }
  EXPECT_EQ(parse_tree_path(std::string("/a\0b", 4)).error().code(), Code::kInvalid);
  EXPECT_EQ(parse_tree_path("/" + std::string(256, 'x')).error().code(), Code::kInvalid);
}

class AdoptionTest : public RepositoryTest {
 protected:
  // A snapshot with /volumes/0/{dir/{leaf,more},link,file}.
  Id foreign() {
    std::filesystem::create_directories(path_ + "/source/dir/empty");
    write_file(path_ + "/source/dir/leaf", "leaf");
    write_file(path_ + "/source/dir/more", "more text");
    write_file(path_ + "/source/file", "file");
    std::filesystem::create_symlink("dir", path_ + "/source/link");
    auto made = snapshot_source();
    EXPECT_TRUE(made.ok()) << made.error().message();
    return *made;
  }
  Result<Adoption> open(const Id& id) { return Adoption::open(*repository_, id.hex()); }
  // The word that says why the path was refused.
  std::string refusal(const Id& id, const std::string& path) {
    auto adoption = open(id);
    EXPECT_TRUE(adoption.ok()) << adoption.error().message();
    const auto root = adoption->find(0, path, {});
    if (root.ok()) return "taken";
    const auto& reasons = root.error().detail().reasons;
    return reasons.size() == 1 ? reasons[0].code : "no reason";
  }
  Result<Id> adopt(const Id& id, const std::string& path) {
    TRY_ASSIGN(Adoption adoption, open(id));
    TRY_ASSIGN(AdoptedRoot root, adoption.find(0, path, {}));
    TRY_ASSIGN(PendingSnapshot pending, adoption.store("{}", {root}, {}));
    added_ = pending.result.blobs_added;
    SnapshotMeta meta{.time = adoption.source().meta.time,
                      .hostname = "web",
                      .username = "cairn",
                      .tags = {},
                      .parent = {},
                      .original = id};
    return repository_->commit(std::move(pending), meta);
  }
};

TEST_F(AdoptionTest, FindsASnapshotByItsFirstDigits) {
  const Id id = foreign();
  const std::string hex = id.hex();
  EXPECT_EQ(Adoption::open(*repository_, hex)->source().id, id);
  EXPECT_EQ(Adoption::open(*repository_, hex.substr(0, 8))->source().id, id);
  for (const std::string& digits :
       {std::string(), hex.substr(0, 7), hex + "0", hex.substr(0, 7) + "G",
        std::string("../../../x"), std::string("latest00")}) {
    EXPECT_EQ(Adoption::open(*repository_, digits).error().code(), Code::kInvalid) << digits;
  }
  std::string other = hex.substr(0, 8);
  other[0] = other[0] == 'a' ? 'b' : 'a';
  EXPECT_EQ(Adoption::open(*repository_, other).error().code(), Code::kNotFound);
}

TEST_F(AdoptionTest, RefusesDigitsThatSeveralSnapshotsBeginWith) {
  const std::string eight(8, '0');
  for (const char last : {'1', '2'}) {
    const std::string name = std::string(63, '0') + last;
    ASSERT_TRUE(repository_->backend().save(FileKind::kSnapshot, name, as_bytes("any")).ok());
  }
  EXPECT_EQ(Adoption::open(*repository_, eight).error().code(), Code::kInvalid);
}

TEST_F(AdoptionTest, TakesADirectoryAndSharesItsBlobs) {
  const Id id = foreign();
  const auto before = repository_->snapshot(id);
  const auto made = adopt(id, "/volumes/0/dir");
  ASSERT_TRUE(made.ok()) << made.error().message();
  EXPECT_EQ(added_, 2U) << "the two trees on top; the manifest and all below is there";
  ASSERT_TRUE(restore_path(*made).ok());
  EXPECT_EQ(read_back(target() + "/leaf"), "leaf");
  EXPECT_TRUE(std::filesystem::is_directory(target() + "/empty"));
  EXPECT_FALSE(std::filesystem::exists(target() + "/file"));
  const auto info = repository_->snapshot(*made);
  EXPECT_EQ(info->meta.original, id);
  EXPECT_EQ(info->meta.time, before->meta.time);
  EXPECT_TRUE(check(*repository_, ReadData::kYes, progress_, {})->empty());
  // The foreign one is as it was, and neither needs the other.
  EXPECT_EQ(repository_->snapshot(id)->tree, before->tree);
  ASSERT_TRUE(repository_->remove_snapshot(id).ok());
  EXPECT_TRUE(verify_snapshot(*repository_, *made, progress_, {})->empty());
}

TEST_F(AdoptionTest, TellsWhatItFound) {
  const Id id = foreign();
  auto adoption = open(id);
  const auto root = adoption->find(3, "/volumes/0/dir/", {});
  ASSERT_TRUE(root.ok()) << root.error().message();
  EXPECT_EQ(root->node.name, "3");
  EXPECT_EQ(root->size.bytes, 13U);
  EXPECT_EQ(root->size.files, 2U);
  EXPECT_EQ(root->size.entries, 4U);
  EXPECT_FALSE(root->made_up);
  const auto top = adoption->find(0, "/", {});
  ASSERT_TRUE(top.ok());
  EXPECT_TRUE(top->made_up);
  EXPECT_EQ(top->node.mtime, adoption->source().meta.time);
}

TEST_F(AdoptionTest, RefusesWhatIsNoDirectory) {
  const Id id = foreign();
  EXPECT_EQ(refusal(id, "/volumes/0/dir"), "taken");
  EXPECT_EQ(refusal(id, "/volumes/0/none"), "no_such_path");
  EXPECT_EQ(refusal(id, "/volumes/0/dir/none/below"), "no_such_path");
  EXPECT_EQ(refusal(id, "/volumes/0/file"), "not_a_directory");
  EXPECT_EQ(refusal(id, "/volumes/0/file/below"), "not_a_directory");
  EXPECT_EQ(refusal(id, "/volumes/0/link"), "symbolic_link");
  EXPECT_EQ(refusal(id, "/volumes/0/link/leaf"), "symbolic_link");
  EXPECT_EQ(refusal(id, "/volumes/0/dir/../dir"), "invalid_path");
  EXPECT_EQ(refusal(id, "volumes/0"), "invalid_path");
}

// Trees by hand: "v" and "w" are directories of the root tree.
std::string dir_node(const std::string& name, const std::string& subtree) {
  return fmt::format(
      R"({{"name":"{}","type":"dir","mode":2147484141,"uid":0,"gid":0,"content":null,"subtree":"{}"}})",
      name, subtree);
}
std::string tree_of(const std::string& nodes) {
  return "{\"nodes\":[" + nodes + "]}\n";
}
std::string hash(const std::string& text) {
  return codec::sha256(as_bytes(text)).hex();
}

TEST_F(AdoptionTest, RefusesTreesThatLackSomethingOrAttack) {
  const std::string blob_missing =
      tree_of(R"({"name":"f","type":"file","mode":420,"uid":0,"gid":0,"size":4,"content":[")" +
              hash("gone") + "\"]}");
  const std::string climbing =
      tree_of(R"({"name":"..","type":"file","mode":420,"uid":0,"gid":0,"size":0,"content":[]})");
  const std::string good = tree_of("");
  const std::string deep = tree_of(dir_node("inner", hash(climbing)));
  const std::string root =
      tree_of(dir_node("blob", hash(blob_missing)) + "," + dir_node("climb", hash(climbing)) + "," +
              dir_node("deep", hash(deep)) + "," + dir_node("good", hash(good)) + "," +
              dir_node("tree", hash("never stored")));
  const auto tree = forge_blobs({root, blob_missing, climbing, good, deep});
  ASSERT_TRUE(tree.ok()) << tree.error().message();
  const Id id = *forge_snapshot(*tree);
  for (const char* path : {"/blob", "/climb", "/deep", "/tree", "/", "/climb/..", "/tree/below"}) {
    EXPECT_NE(refusal(id, path), "taken") << path;
  }
  EXPECT_EQ(refusal(id, "/blob"), "damaged");
  EXPECT_EQ(refusal(id, "/tree/below"), "damaged");
  // What is whole can be had beside what is not.
  EXPECT_EQ(refusal(id, "/good"), "taken");
}

// 64 levels that name the next one twice: 2^64 entries in a few kilobytes.
TEST_F(AdoptionTest, RefusesATreeThatStandsForMoreThanAnyDisk) {
  std::vector<std::string> trees = {tree_of("")};
  for (int i = 0; i < 64; ++i) {
    const std::string below = hash(trees.front());
    trees.insert(trees.begin(), tree_of(dir_node("a", below) + "," + dir_node("b", below)));
  }
  const auto tree = forge_blobs(trees);
  ASSERT_TRUE(tree.ok());
  EXPECT_EQ(refusal(*forge_snapshot(*tree), "/a"), "too_large");
}

TEST_F(AdoptionTest, WaitsForNobodyWhoHoldsTheRepositoryAlone) {
  const Id id = foreign();
  const auto alone = repository_->lock(LockMode::kExclusive);
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ(open(id).error().code(), Code::kBusy);
}

}  // namespace
}  // namespace cairn::repository
