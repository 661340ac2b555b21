#include "codec/sealer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace cairn::codec {
namespace {

SealingKey key_of(unsigned char fill) {
  SealingKey key;
  key.fill(std::byte{fill});
  return key;
}

TEST(Sealer, OpensWhatItSealed) {
  const Sealer sealer(key_of(1));
  const std::string long_text(100'000, 'x');
  for (const std::string& plain : {std::string(), std::string("s3cret"), long_text}) {
    const Bytes sealed = sealer.seal(plain, "workloads/wl_1/env");
    EXPECT_EQ(sealed.size(), plain.size() + kSealedOverheadBytes);
    const auto opened = sealer.open(sealed, "workloads/wl_1/env");
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(*opened, plain);
  }
}

TEST(Sealer, HidesThePlainTextAndNeverRepeatsItself) {
  const Sealer sealer(key_of(1));
  const Bytes first = sealer.seal("hunter2-hunter2", "a");
  const Bytes second = sealer.seal("hunter2-hunter2", "a");
  EXPECT_NE(first, second);
  EXPECT_EQ(as_text(first).find("hunter2"), std::string_view::npos);
}

TEST(Sealer, RefusesBytesMovedToAnotherRow) {
  const Sealer sealer(key_of(1));
  const Bytes sealed = sealer.seal("value", "workloads/wl_1/env");
  const auto opened = sealer.open(sealed, "workloads/wl_2/env");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kCorrupt);
}

TEST(Sealer, RefusesAnotherKeyAndAnotherKeyVersion) {
  const Bytes sealed = Sealer(key_of(1)).seal("value", "a");
  EXPECT_FALSE(Sealer(key_of(2)).open(sealed, "a").ok());
  EXPECT_FALSE(Sealer(key_of(1), 2).open(sealed, "a").ok());
  // The version byte is authenticated: changing it does not help.
  Bytes relabelled = sealed;
  relabelled[0] = std::byte{2};
  EXPECT_FALSE(Sealer(key_of(1), 2).open(relabelled, "a").ok());
}

TEST(Sealer, RefusesEveryFlippedByteAndEveryShortening) {
  const Sealer sealer(key_of(1));
  const Bytes sealed = sealer.seal("value", "a");
  for (std::size_t at = 0; at < sealed.size(); ++at) {
    Bytes damaged = sealed;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(sealer.open(damaged, "a").ok()) << "byte " << at;
  }
  for (std::size_t length = 0; length < sealed.size(); ++length) {
    EXPECT_FALSE(sealer.open(ByteView(sealed).first(length), "a").ok()) << "length " << length;
  }
}

TEST(SealingKey, SurvivesItsText) {
  const SealingKey key = make_sealing_key();
  EXPECT_NE(key, make_sealing_key());
  const std::string text = to_text(key);
  EXPECT_EQ(text.size(), 64U);
  const auto parsed = parse_sealing_key(text);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, key);
}

TEST(SealingKey, RefusesOtherTextWithoutShowingIt) {
  const std::string good = to_text(key_of(0xab));
  std::string upper = good;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  for (const std::string& bad : {std::string(), good.substr(1), good + "0", upper}) {
    const auto parsed = parse_sealing_key(bad);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code(), Code::kInvalid);
    if (!bad.empty()) {
      EXPECT_EQ(parsed.error().message().find(bad), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace cairn::codec
