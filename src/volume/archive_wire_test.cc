// The daemon trusts nothing that the parser's child sends.
#include "volume/archive_wire.h"

#include <gtest/gtest.h>

namespace cairn::volume {
namespace {

codec::TarEntry full() {
  codec::TarEntry entry;
  entry.type = codec::TarType::kFile;
  entry.path = "volumes/0/a";
  entry.mode = 06755;
  entry.uid = 4'000'000'000;
  entry.gid = 1;
  entry.mtime = {.seconds = -5, .nanoseconds = 999'999'999};
  entry.size_bytes = 12345;
  entry.xattrs = {{"user.a", std::string("\0x", 2)}, {"user.b", ""}};
  return entry;
}

TEST(Wire, CarriesEveryField) {
  const auto back = decode_entry(encode_entry(full()));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, full());
  const auto head = decode_head(encode_head(WireType::kData, 77));
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->type, WireType::kData);
  EXPECT_EQ(head->payload_bytes, 77U);
}

TEST(WireAttack, CutAndLengthened) {
  const std::string whole = encode_entry(full());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_entry(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(decode_entry(whole + "x").ok());
}

TEST(WireAttack, FieldsOutOfRange) {
  const auto refused = [](const auto& change) {
    codec::TarEntry entry = full();
    change(entry);
    return !decode_entry(encode_entry(entry)).ok();
  };
  using Entry = codec::TarEntry;
  EXPECT_TRUE(refused([](Entry& e) { e.path = "volumes/../../etc"; }));
  EXPECT_TRUE(refused([](Entry& e) { e.path = "/etc/passwd"; }));
  EXPECT_TRUE(refused([](Entry& e) { e.path = "."; }));
  EXPECT_TRUE(refused([](Entry& e) { e.mode = 010000; }));
  EXPECT_TRUE(refused([](Entry& e) { e.uid = UINT32_MAX; }));
  EXPECT_TRUE(refused([](Entry& e) { e.mtime.nanoseconds = 1'000'000'000; }));
  EXPECT_TRUE(refused([](Entry& e) { e.size_bytes = codec::kTarFileBytesMax + 1; }));
  EXPECT_TRUE(refused([](Entry& e) { e.type = codec::TarType::kDirectory; }));
  EXPECT_TRUE(refused([](Entry& e) { e.link = "a file has none"; }));
  EXPECT_TRUE(refused([](Entry& e) { e.xattrs = {{"user.b", ""}, {"user.a", ""}}; }));
  EXPECT_TRUE(refused([](Entry& e) { e.xattrs = {{std::string("a\0b", 3), ""}}; }));
  EXPECT_TRUE(refused([](Entry& e) {
    e.type = codec::TarType::kHardLink;
    e.size_bytes = 0;
    e.link = "../out";
  }));
}

TEST(WireAttack, Heads) {
  EXPECT_FALSE(decode_head(std::string("\0\0\0\0\0", 5)).ok());
  EXPECT_FALSE(decode_head(std::string("\0\0\0\0\5", 5)).ok());
  EXPECT_FALSE(decode_head(std::string("\xff\xff\xff\xff\1", 5)).ok());
  EXPECT_FALSE(decode_head("\1").ok());
}

}  // namespace
}  // namespace cairn::volume
