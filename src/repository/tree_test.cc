// Names, trees and JSON: exact round trips, and everything that must be refused.
#include "repository/tree.h"

#include <gtest/gtest.h>

#include "repository/json_reader.h"

namespace cairn::repository {
namespace {

TEST(Name, QuotesAsGoDoesAndComesBack) {
  EXPECT_EQ(quote_name("plain name"), "plain name");
  EXPECT_EQ(quote_name("a\"b\\c"), R"(a\"b\\c)");
  EXPECT_EQ(quote_name("\n\t\x01\x7f"), R"(\n\t\x01\x7f)");
  EXPECT_EQ(quote_name("\xff\xc3\xa9"), "\\xff\xc3\xa9");
  for (int first = 1; first < 256; ++first) {
    for (int second = 1; second < 256; ++second) {
      const std::string name = {static_cast<char>(first), static_cast<char>(second)};
      ASSERT_EQ(unquote_name(quote_name(name)).value(), name);
    }
  }
}

TEST(Name, UnquotesEveryEscapeThatGoWrites) {
  EXPECT_EQ(unquote_name(R"(\a\b\f\n\r\t\v\\\")").value(), "\a\b\f\n\r\t\v\\\"");
  EXPECT_EQ(unquote_name(R"(\u00e9\U0001F600\xff\101)").value(),
            "\u00e9\U0001F600\xff"
            "A");
  for (const char* bad : {"a\"b", "a\nb", "\\", "\\x1", "\\q", "\\ud800", "\\U00110000", "\\777"}) {
    EXPECT_FALSE(unquote_name(bad).ok()) << bad;
  }
}

Node sample(NodeType type, std::string name) {
  Node node;
  node.name = std::move(name);
  node.type = type;
  node.mode = 07777;
  node.mtime = node.atime = {1700000000, 123456780};
  node.ctime = {-5, 1};
  node.uid = 4294967294U;
  node.gid = 7;
  node.inode = UINT64_MAX;
  node.device_id = 3;
  node.links = type == NodeType::kDir ? 0 : 2;
  if (type == NodeType::kDir) node.subtree = codec::sha256(as_bytes("tree"));
  if (type == NodeType::kSymlink) node.link_target = "../t\u00e9 <&>";
  if (type == NodeType::kCharDevice) node.device = 0x103;
  if (type == NodeType::kFile) {
    node.size = 5;
    node.content = {codec::sha256(as_bytes("hello"))};
    node.xattrs = {{"security.capability", std::string("\0\xff", 2)}, {"user.a", ""}};
  }
  return node;
}

TEST(Tree, ComesBackAsItWas) {
  const std::vector<Node> nodes = {
      sample(NodeType::kDir, "a\n\"\\"), sample(NodeType::kFile, "b\xff"),
      sample(NodeType::kSymlink, "c"),   sample(NodeType::kCharDevice, "d"),
      sample(NodeType::kFifo, "e"),      sample(NodeType::kDevice, "f")};
  EXPECT_EQ(parse_tree(encode_tree(nodes)).value(), nodes);
  EXPECT_EQ(encode_tree({}), "{\"nodes\":[]}\n");
  EXPECT_TRUE(parse_tree("{\"nodes\":null}")->empty());
}

TEST(Tree, HasTheBytesThatResticWrites) {
  Node node;
  node.name = "a";
  node.mode = 0644;
  node.mtime = node.atime = node.ctime = {0, 500000000};
  node.inode = 1;
  node.links = 1;
  EXPECT_EQ(encode_tree(std::span(&node, 1)),
            R"({"nodes":[{"name":"a","type":"file","mode":420,"mtime":"1970-01-01T00:00:00.5Z",)"
            R"("atime":"1970-01-01T00:00:00.5Z","ctime":"1970-01-01T00:00:00.5Z","uid":0,"gid":0,)"
            R"("inode":1,"links":1,"content":[]}]})"
            "\n");
  node.type = NodeType::kDir;
  node.mode = 01755;
  EXPECT_NE(encode_tree(std::span(&node, 1)).find("\"mode\":2148532717,"), std::string::npos);
}

TEST(Tree, RefusesWhatIsNoTree) {
  const std::string id = codec::sha256({}).hex();
  const std::string dir = R"("type":"dir","subtree":")" + id + "\"";
  const auto one = [](const std::string& members) { return "{\"nodes\":[{" + members + "}]}"; };
  EXPECT_TRUE(parse_tree(one("\"name\":\"a\"," + dir)).ok());
  for (const std::string& bad : {
           std::string(""),
           std::string("{}"),
           std::string("[]"),
           std::string("{\"nodes\":[]} x"),
           std::string("{\"nodes\":[],\"nodes\":[]}"),
           one(dir),
           one("\"name\":\"\"," + dir),
           one("\"name\":\".\"," + dir),
           one("\"name\":\"..\"," + dir),
           one("\"name\":\"/\"," + dir),
           one("\"name\":\"a/b\"," + dir),
           one("\"name\":\"\\u002e\\u002e\"," + dir),
           one(R"("name":"\\x2e.",)" + dir),
           one(R"("name":"a\\x2fb",)" + dir),
           one(R"("name":"a\\x00",)" + dir),
           one("\"name\":\"" + std::string(256, 'x') + "\"," + dir),
           one("\"name\":\"a\",\"type\":\"door\""),
           one("\"name\":\"a\""),
           one("\"name\":\"a\",\"type\":\"dir\""),
           one("\"name\":\"a\",\"type\":\"dir\",\"subtree\":\"12\""),
           one("\"name\":\"a\",\"type\":\"file\",\"size\":5,\"content\":null"),
           one("\"name\":\"a\",\"type\":\"file\",\"size\":9223372036854775807,\"content\":[]"),
           one("\"name\":\"a\",\"type\":\"file\",\"content\":[],\"subtree\":\"" + id + "\""),
           one("\"name\":\"a\",\"type\":\"fifo\",\"content\":[\"" + id + "\"]"),
           one("\"name\":\"a\",\"type\":\"symlink\""),
           one("\"name\":\"a\",\"type\":\"symlink\",\"linktarget\":\"a\\u0000b\""),
           one("\"name\":\"a\",\"mtime\":\"yesterday\"," + dir),
           one("\"name\":\"a\",\"uid\":4294967296," + dir),
           one("\"name\":\"a\",\"uid\":-1," + dir),
           one("\"name\":\"a\",\"extended_attributes\":[{\"name\":\"\",\"value\":\"\"}]," + dir),
           "{\"nodes\":[{\"name\":\"b\"," + dir + "},{\"name\":\"a\"," + dir + "}]}",
           "{\"nodes\":[{\"name\":\"a\"," + dir + "},{\"name\":\"a\"," + dir + "}]}",
       }) {
    EXPECT_EQ(parse_tree(bad).error().code(), Code::kCorrupt) << bad;
  }
}

TEST(JsonReader, RefusesDeepNestingAndBrokenText) {
  for (const std::string& bad :
       {std::string(100000, '['), std::string("{\"a\":"), std::string("{\"a\" 1}"),
        std::string("[1,]"), std::string("[1 2]"), std::string("\"\\u12\""), std::string("\"a"),
        std::string("tru"), std::string("{\"a\":1}}"), std::string("\"\n\"")}) {
    JsonReader reader(bad);
    reader.skip();
    EXPECT_FALSE(reader.finish().ok()) << bad.substr(0, 20);
  }
  JsonReader good(R"( {"a":[1,-2.5e3,true,false,null,"x\ud83d\ude00\ud800"],"b":{}} )");
  good.skip();
  EXPECT_TRUE(good.finish().ok());
  JsonReader surrogates(R"("\ud83d\ude00\ud800A")");
  EXPECT_EQ(surrogates.string(),
            "\U0001F600\ufffd"
            "A");
}

}  // namespace
}  // namespace cairn::repository
