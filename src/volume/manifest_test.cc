#include "volume/manifest.h"

#include <gtest/gtest.h>

namespace cairn::volume {
namespace {

std::string of(const std::string& volumes) {
  return R"({"version":1,"volumes":[)" + volumes + "]}";
}

TEST(Manifest, KeepsIndexAndTargetOnly) {
  const auto manifest =
      parse_manifest(of(R"({"index":3,"target":"/b","scope":"absolute","source":"../../etc"},
            {"index":0,"target":"/a","scope":"nonsense"})"));
  ASSERT_TRUE(manifest.ok()) << manifest.error().message();
  EXPECT_EQ(manifest->volumes, (std::vector<ManifestVolume>{{0, "/a"}, {3, "/b"}}));
}

TEST(ManifestAttack, Indexes) {
  for (const std::string index : {"-1", "99", "64", "\"word\"", "\"0\"", "0.5", "1e0", "null",
                                  "18446744073709551616", "4294967296", "[0]", "{}", "true"}) {
    EXPECT_FALSE(parse_manifest(of(R"({"target":"/a","index":)" + index + "}")).ok()) << index;
  }
  EXPECT_FALSE(parse_manifest(of(R"({"target":"/a"})")).ok());
  EXPECT_TRUE(parse_manifest(of(R"({"target":"/a","index":63})")).ok());
}

TEST(ManifestAttack, TwiceTheSame) {
  EXPECT_FALSE(parse_manifest(of(R"({"index":0,"target":"/a"},{"index":0,"target":"/b"})")).ok());
  EXPECT_FALSE(parse_manifest(of(R"({"index":0,"target":"/a"},{"index":1,"target":"/a"})")).ok());
  EXPECT_FALSE(parse_manifest(of(R"({"index":0,"target":"/a","index":1})")).ok());
  EXPECT_FALSE(
      parse_manifest(R"({"version":1,"version":1,"volumes":[{"index":0,"target":"/a"}]})").ok());
  EXPECT_TRUE(parse_manifest(of(R"({"index":0,"target":"/a","x":{"index":1}})")).ok())
      << "another record may have the same key";
}

TEST(ManifestAttack, Targets) {
  for (const std::string target : {"", "/", "a", "/a/../b", "/a/", "//a", "/./a"}) {
    EXPECT_FALSE(parse_manifest(of(R"({"index":0,"target":")" + target + "\"}")).ok()) << target;
  }
  EXPECT_FALSE(parse_manifest(of(R"({"index":0,"target":"/a\u0000b"})")).ok());
}

TEST(ManifestAttack, VersionsAndShapes) {
  for (const std::string text :
       {"", "[]", "null", "{", R"({"volumes":[]})", R"({"version":2,"volumes":[]})",
        R"({"version":"1","volumes":[{"index":0,"target":"/a"}]})",
        R"({"version":1.0,"volumes":[{"index":0,"target":"/a"}]})", R"({"version":1,"volumes":[]})",
        R"({"version":1,"volumes":{}})", R"({"version":1,"volumes":[0]})",
        R"({"version":1,"volumes":[{"index":0,"target":"/a","scope":1}]})",
        R"({"version":1,"volumes":[{"index":0,"target":"/a"}]}x)"}) {
    EXPECT_FALSE(parse_manifest(text).ok()) << text;
  }
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_FALSE(
      parse_manifest(R"({"version":1,"volumes":[{"index":0,"target":"/a"}],"x":)" + deep + "}")
          .ok());
  EXPECT_FALSE(
      parse_manifest(of(R"({"index":0,"target":"/a"})") + std::string(kManifestBytesMax, ' '))
          .ok());
}

// A parser that at each record looks at all that the list holds takes minutes here under ASan.
TEST(ManifestAttack, AListAsLongAsFits) {
  std::string records = "{}";
  while (records.size() + 64 < kManifestBytesMax) records += R"(,{"index":1})";
  const auto manifest = parse_manifest(of(records));
  ASSERT_FALSE(manifest.ok());
  EXPECT_EQ(manifest.error().message(), "the manifest names no volumes, or too many");
}

}  // namespace
}  // namespace cairn::volume
