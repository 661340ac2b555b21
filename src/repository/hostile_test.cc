// Trees that attack: each is refused or harmless, and nothing outside the target changes.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "repository/checker.h"
#include "repository/test_repository.h"

namespace cairn::repository {
namespace {

// Whoever runs the tests may give files only to themselves.
std::string owner_members() {
  return fmt::format(R"("uid":{},"gid":{})", ::getuid(), ::getgid());
}

std::string dir_members() {
  return R"("type":"dir","mode":2147484141,)" + owner_members();
}

class HostileTree : public RepositoryTest {
 protected:
  void TearDown() override {
    EXPECT_EQ(read_back(path_ + "/outside/secret"), "untouched");
    std::size_t entries = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path_ + "/outside")) {
      (void)entry;
      ++entries;
    }
    EXPECT_EQ(entries, 1U);
    RepositoryTest::TearDown();
  }

  // A root tree with one directory "v" that holds these nodes.
  Result<Id> forge_nodes(const std::string& nodes, const std::vector<std::string>& data = {}) {
    const std::string inner = "{\"nodes\":[" + nodes + "]}\n";
    return forge_dir(inner, {inner}, data);
  }
  Result<Id> forge_dir(const std::string& subtree,
                       const std::vector<std::string>& trees,
                       const std::vector<std::string>& data = {}) {
    std::vector<std::string> all = {
        fmt::format(R"({{"nodes":[{{"name":"v",{},"content":null,"subtree":"{}"}}]}})",
                    dir_members(), codec::sha256(as_bytes(subtree)).hex()) +
        "\n"};
    all.insert(all.end(), trees.begin(), trees.end());
    TRY_ASSIGN(const Id root, forge_blobs(all, data));
    return forge_snapshot(root);
  }
  static std::string file_node(const std::string& name,
                               const std::string& content,
                               const std::string& more = "") {
    return fmt::format(
        R"({{"name":"{}","type":"file","mode":420,{},"size":{},"content":["{}"]{}}})", name,
        owner_members(), content.size(), codec::sha256(as_bytes(content)).hex(), more);
  }
  static std::string link_node(const std::string& name,
                               const std::string& to,
                               const std::string& more = "") {
    return fmt::format(R"({{"name":"{}","type":"symlink","mode":134218239,{},)"
                       R"("linktarget":"{}","content":null{}}})",
                       name, owner_members(), to, more);
  }
  Code restore_code(const Result<Id>& snapshot) {
    EXPECT_TRUE(snapshot.ok()) << snapshot.error().message();
    const Status status = restore_path(*snapshot, "/v");
    return status.ok() ? Code::kInternal : status.error().code();
  }
};

TEST_F(HostileTree, AGoodOneRestores) {
  const auto snapshot = forge_nodes(file_node("a", "hello"), {"hello"});
  ASSERT_TRUE(snapshot.ok());
  const Status restored = restore_path(*snapshot, "/v");
  ASSERT_TRUE(restored.ok()) << restored.error().message();
  EXPECT_EQ(read_back(target() + "/a"), "hello");
}

TEST_F(HostileTree, NamesThatLeaveTheDirectory) {
  for (const char* name : {"..", ".", "", "/", "../outside/secret", "/tmp/x", "a/b",
                           R"(\\x2e\\x2e)", R"(a\\x2fb)", R"(a\\x00b)", R"(\u002e\u002e)"}) {
    EXPECT_EQ(restore_code(forge_nodes(file_node(name, "evil"), {"evil"})), Code::kCorrupt) << name;
  }
}

TEST_F(HostileTree, DuplicateAndUnsortedNames) {
  const std::string evil = path_ + "/outside";
  EXPECT_EQ(
      restore_code(forge_nodes(link_node("a", evil) + "," + file_node("a", "evil"), {"evil"})),
      Code::kCorrupt);
  EXPECT_EQ(restore_code(forge_nodes(file_node("b", "x") + "," + file_node("a", "x"), {"x"})),
            Code::kCorrupt);
  // A link, and a directory of the same name whose entries would go through it.
  const std::string below = "{\"nodes\":[" + file_node("secret", "evil") + "]}\n";
  const std::string dir = fmt::format(R"({{"name":"a",{},"content":null,"subtree":"{}"}})",
                                      dir_members(), codec::sha256(as_bytes(below)).hex());
  const std::string both = "{\"nodes\":[" + link_node("a", evil) + "," + dir + "]}\n";
  EXPECT_EQ(restore_code(forge_dir(both, {both, below}, {"evil"})), Code::kCorrupt);
}

TEST_F(HostileTree, LinksAreMadeAndNeverFollowed) {
  const std::string evil = path_ + "/outside/secret";
  const auto snapshot = forge_nodes(
      link_node("a", evil, R"(,"extended_attributes":null)") + "," + file_node("b", "evil"),
      {"evil"});
  ASSERT_TRUE(restore_path(*snapshot, "/v").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(target() + "/a"));
  struct stat stat{};
  ASSERT_EQ(::stat(evil.c_str(), &stat), 0);
  EXPECT_NE(stat.st_mtime, -62135596800);  // the link's own zero time did not go through it
}

TEST_F(HostileTree, HardLinkGroupsOfALinkAndAFileShareNoInode) {
  const std::string evil = path_ + "/outside/secret";
  const std::string group = R"(,"inode":5,"device_id":1,"links":2)";
  const auto snapshot =
      forge_nodes(link_node("a", evil, group) + "," + file_node("b", "evil", group), {"evil"});
  ASSERT_TRUE(restore_path(*snapshot, "/v").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(target() + "/a"));
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(target() + "/b")));
  EXPECT_EQ(read_back(target() + "/b"), "evil");
  EXPECT_EQ(read_back(evil), "untouched");
}

TEST_F(HostileTree, WrongTypesAndSizes) {
  const std::string hello = codec::sha256(as_bytes("hello")).hex();
  const auto node = [](const std::string& members) {
    return "{\"name\":\"a\"," + owner_members() + "," + members + "}";
  };
  for (const std::string& bad : {
           node(R"("type":"dir","subtree":")" + hello + "\""),  // a data blob
           node(R"("type":"file","size":4,"content":[")" + hello + "\"]"),
           node(R"("type":"file","size":6,"content":[")" + hello + "\"]"),
           node(R"("type":"file","size":5,"content":[])"),
           node(R"("type":"file","size":5,"content":[")" + std::string(64, 'a') + "\"]"),
           node(R"("type":"irregular","content":null)"),
           node(R"("type":"dir")"),
           node(R"("type":"door")"),
       }) {
    EXPECT_EQ(restore_code(forge_nodes(bad, {"hello"})), Code::kCorrupt) << bad;
  }
  // A tree as a file's content.
  const std::string tree = "{\"nodes\":[]}\n";
  const std::string inner = "{\"nodes\":[" +
                            node(fmt::format(R"("type":"file","size":{},"content":["{}"])",
                                             tree.size(), codec::sha256(as_bytes(tree)).hex())) +
                            "]}\n";
  EXPECT_EQ(restore_code(forge_dir(inner, {inner, tree})), Code::kCorrupt);
  EXPECT_EQ(restore_code(forge_dir("no tree", {"no tree"})), Code::kCorrupt);
}

TEST_F(HostileTree, DepthAndSharedSubtreesAreBounded) {
  std::vector<std::string> trees = {"{\"nodes\":[]}\n"};
  for (int i = 0; i < 4200; ++i) {
    const std::string below = codec::sha256(as_bytes(trees.back())).hex();
    trees.push_back(fmt::format(
        R"({{"nodes":[{{"name":"a",{},"subtree":"{}"}},{{"name":"b",{},"subtree":"{}"}}]}})",
        dir_members(), below, dir_members(), below));
  }
  // Thirty levels of two stand for a billion directories; they are counted, not walked.
  const auto wide = forge_dir(trees[30], trees);
  ASSERT_TRUE(wide.ok());
  const auto size = measure(*repository_, *wide, "/v");
  ASSERT_TRUE(size.ok());
  EXPECT_EQ(size->entries, (std::uint64_t{1} << 31U) - 1);
  const auto deep = forge_dir(trees[4200], trees);
  EXPECT_FALSE(measure(*repository_, *deep, "/v").ok());
  EXPECT_EQ(restore_code(deep), Code::kInvalid);
}

TEST_F(HostileTree, TargetsThatAreNotEmptyAreRefused) {
  const auto snapshot = forge_nodes(file_node("a", "hello"), {"hello"});
  std::filesystem::create_directory(target());
  write_file(target() + "/mine", "kept");
  const os::Dir dir = os::Dir::open(target()).value();
  EXPECT_EQ(restore(*repository_, *snapshot, {{"/v", &dir}}, progress_, {}).error().code(),
            Code::kInvalid);
  EXPECT_EQ(read_back(target() + "/mine"), "kept");
}

TEST_F(HostileTree, CheckNamesEachFault) {
  ASSERT_TRUE(forge_nodes(file_node("..", "evil"), {"evil"}).ok());
  const auto findings = check(*repository_, ReadData::kYes, progress_, {});
  ASSERT_TRUE(findings.ok());
  ASSERT_EQ(findings->size(), 1U);
  EXPECT_NE((*findings)[0].detail.find("not a file name"), std::string::npos);
}

}  // namespace
}  // namespace cairn::repository
