// Hashes, boxes, frames and cuts: known answers, round trips, and what must be refused.
#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include <algorithm>
#include <random>

#include "codec/chunker.h"
#include "codec/compressor.h"
#include "codec/crypto.h"
#include "codec/hash.h"

namespace cairn::codec {
namespace {

Bytes random_data(std::size_t size, unsigned seed) {
  std::mt19937_64 generator(seed);
  Bytes out(size);
  std::generate(out.begin(), out.end(), [&] { return static_cast<std::byte>(generator()); });
  return out;
}

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(as_bytes("abc")).hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  pieces.update(as_bytes("a"));
  pieces.update(as_bytes("bc"));
  EXPECT_EQ(pieces.finish(), sha256(as_bytes("abc")));
  EXPECT_EQ(Id::parse(sha256({}).hex()).value(), sha256({}));
  EXPECT_FALSE(Id::parse("abc").ok());
  EXPECT_FALSE(Id::parse(std::string(64, 'G')).ok());
}

TEST(Sha256, ManyAtOnceAreWhatEachIsAlone) {
  // Every length around the ends of blocks, next to lengths that end before and after it.
  std::vector<Bytes> contents;
  for (std::size_t size = 0; size < 200; ++size) contents.push_back(random_data(size, 1));
  for (const std::size_t size : std::initializer_list<std::size_t>{65'536, 65'537, 1, 100'000, 0,
                                                                   64, 4096, 1'000'000, 55, 56}) {
    contents.push_back(random_data(size, 2));
  }
  for (std::size_t count = 0; count <= contents.size(); count += count < 5 ? 1 : 41) {
    const std::vector<ByteView> parts(contents.end() - static_cast<std::ptrdiff_t>(count),
                                      contents.end());
    std::vector<Id> ids(count);
    sha256_all(parts, ids);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(ids[i], sha256(parts[i])) << count << " " << i;
    }
  }
}

TEST(Box, OpensWhatItSealed) {
  const BoxKey key = random_box_key();
  Box box(key);
  for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 15, 4103}) {
    const Bytes plain = random_data(size, 1);
    Bytes sealed;
    box.seal(plain, sealed);
    ASSERT_EQ(sealed.size(), size + kBoxOverheadBytes);
    Bytes opened;
    ASSERT_TRUE(Box(key).open(sealed, opened).ok());
    EXPECT_EQ(opened, plain);
  }
}

#if defined(__x86_64__)
// Intel's manual, volume 1, 13.6: XGETBV with ECX = 1 tells which parts of the state are in use.
bool tells_what_is_in_use() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(0xd, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 2U & 1U) != 0;
}

__attribute__((target("xsave"))) bool upper_halves_are_in_use() {
  return (_xgetbv(1) >> 2U & 1U) != 0;
}

TEST(Box, LeavesTheUpperHalvesOfVectorRegistersZero) {
  if (!tells_what_is_in_use()) GTEST_SKIP() << "the processor does not tell what is in use";
  Box box(random_box_key());
  Bytes sealed;
  Bytes opened;
  box.seal(random_data(70'001, 1), sealed);  // the end that is no whole block is what counts
  EXPECT_FALSE(upper_halves_are_in_use());
  ASSERT_TRUE(box.open(sealed, opened).ok());
  EXPECT_FALSE(upper_halves_are_in_use());
}
#endif

TEST(Box, RefusesEveryFlippedByteAndOtherKeys) {
  Box box(random_box_key());
  Bytes sealed;
  box.seal(as_bytes("some text"), sealed);
  Bytes opened;
  for (std::byte& byte : sealed) {
    byte ^= std::byte{1};
    EXPECT_EQ(box.open(sealed, opened).error().code(), Code::kCorrupt);
    byte ^= std::byte{1};
  }
  EXPECT_FALSE(Box(random_box_key()).open(sealed, opened).ok());
  EXPECT_FALSE(box.open(ByteView(sealed).first(31), opened).ok());
  EXPECT_TRUE(box.open(sealed, opened).ok());
}

TEST(Box, ScryptLimitsAreKept) {
  const Bytes salt = random_data(kSaltBytes, 2);
  EXPECT_TRUE(derive_box_key("password", salt, {1024, 8, 1}).ok());
  EXPECT_FALSE(derive_box_key("password", salt, {1000, 8, 1}).ok());
  EXPECT_FALSE(derive_box_key("password", salt, {1ULL << 40U, 8, 1}).ok());
  EXPECT_FALSE(derive_box_key("password", salt, {1024, 0, 1}).ok());
  EXPECT_FALSE(derive_box_key("password", salt, {1024, 8, 100000}).ok());
  EXPECT_FALSE(derive_box_key("password", ByteView(salt).first(32), {1024, 8, 1}).ok());
}

TEST(Compressor, RoundTripsAndPassesOverNoise) {
  Compressor compressor;
  Bytes text;
  for (int i = 0; i < 20000; ++i) text.push_back(static_cast<std::byte>("lorem ipsum"[i % 11]));
  const auto compressed = compressor.compress(text);
  ASSERT_TRUE(compressed.has_value());
  const Bytes frame(compressed->begin(), compressed->end());
  EXPECT_LT(frame.size(), text.size() / 10);
  Bytes plain;
  ASSERT_TRUE(compressor.decompress(frame, text.size(), plain).ok());
  EXPECT_EQ(plain, text);
  ASSERT_TRUE(compressor.decompress_bounded(frame, 1 << 20, plain).ok());
  EXPECT_EQ(plain, text);

  EXPECT_FALSE(compressor.compress(random_data(1 << 20, 3)).has_value());
  EXPECT_FALSE(compressor.compress(random_data(64 << 10, 3)).has_value());
  EXPECT_FALSE(compressor.compress(random_data(1000, 3)).has_value());
}

TEST(Compressor, RefusesWrongLengthsBombsAndBrokenFrames) {
  Compressor compressor;
  Bytes frame;
  compressor.compress_always(Bytes(1 << 20), Effort::kThorough, frame);
  Bytes plain;
  EXPECT_EQ(compressor.decompress(frame, (1 << 20) - 1, plain).error().code(), Code::kCorrupt);
  EXPECT_EQ(compressor.decompress(frame, (1 << 20) + 1, plain).error().code(), Code::kCorrupt);
  EXPECT_EQ(compressor.decompress_bounded(frame, 65536, plain).error().code(), Code::kCorrupt);
  EXPECT_FALSE(
      compressor.decompress_bounded(ByteView(frame).first(frame.size() - 1), 1 << 21, plain).ok());
  EXPECT_FALSE(compressor.decompress(as_bytes("not a frame"), 10, plain).ok());
  EXPECT_TRUE(compressor.decompress_bounded(frame, 1 << 20, plain).ok());
}

std::vector<std::size_t> cuts(ByteView data) {
  std::vector<std::size_t> lengths;
  while (!data.empty()) {
    const std::size_t cut = first_cut(data.first(std::min(data.size(), kChunkBytesMax)));
    lengths.push_back(cut);
    data = data.subspan(cut);
  }
  return lengths;
}

TEST(Chunker, KeepsItsLimitsAndCoversEverything) {
  const Bytes data = random_data(40 << 20, 4);
  const auto lengths = cuts(data);
  std::size_t sum = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    EXPECT_LE(lengths[i], kChunkBytesMax);
    if (i + 1 < lengths.size()) {
      EXPECT_GE(lengths[i], kChunkBytesMin);
    }
    sum += lengths[i];
  }
  EXPECT_EQ(sum, data.size());
  EXPECT_GT(lengths.size(), 20U);
  EXPECT_LT(lengths.size(), 100U);
}

TEST(Chunker, FindsItsCutsAgainAfterAnInsertion) {
  const Bytes data = random_data(20 << 20, 5);
  Bytes shifted = data;
  const Bytes inserted = random_data(1000, 6);
  shifted.insert(shifted.begin() + 3'000'000, inserted.begin(), inserted.end());
  const auto before = cuts(data);
  const auto after = cuts(shifted);
  // The tail's lengths agree from the end on, but for the region around the insertion.
  std::size_t same = 0;
  while (same < before.size() && same < after.size() &&
         before[before.size() - 1 - same] == after[after.size() - 1 - same]) {
    ++same;
  }
  EXPECT_GT(same, before.size() / 2);
}

TEST(Chunker, FilesThatAreRewrittenInPlaceAreCutAtFixedPlaces) {
  const auto fixed = [](const FileLook& file) { return plan_chunks(file).fixed_bytes; };
  constexpr std::uint64_t kGiB = 1ULL << 30U;
  EXPECT_EQ(fixed({.size_bytes = kGiB}), 64U << 10U);
  EXPECT_EQ(fixed({.size_bytes = kGiB + 1}), 0U);
  EXPECT_EQ(fixed({.size_bytes = kGiB + 1, .has_holes = true}), 64U << 10U);
  EXPECT_EQ(fixed({.size_bytes = 8192}), 0U);
  Bytes tar(512);
  const std::string_view magic = "ustar";
  std::copy(as_bytes(magic).begin(), as_bytes(magic).end(), tar.begin() + 257);
  EXPECT_EQ(fixed({.size_bytes = 40 << 20, .head = tar}), 0U);
  EXPECT_EQ(fixed({.size_bytes = (40 << 20) + 512, .head = as_bytes("SQLite format 3")}),
            64U << 10U);
}

TEST(Chunker, ListsOfIdsStayShortHoweverLargeADirectoryIs) {
  std::size_t before = 0;
  for (unsigned bits = 21; bits < 45; ++bits) {
    const std::uint64_t total = 1ULL << bits;
    const ChunkPlan plan = plan_chunks({.size_bytes = 1 << 21, .directory_bytes = total});
    EXPECT_EQ(plan.fixed_bytes % 65536, 0U);
    EXPECT_GE(plan.fixed_bytes, before);
    EXPECT_LE(total / plan.fixed_bytes, 4U << 20U);
    EXPECT_EQ(plan.fixed_bytes, plan_chunks({.size_bytes = total}).fixed_bytes);
    before = plan.fixed_bytes;
  }
}

TEST(Chunker, ZeroesAreSeen) {
  Bytes zeros(100000);
  EXPECT_TRUE(is_zero(zeros));
  EXPECT_TRUE(is_zero({}));
  zeros.back() = std::byte{1};
  EXPECT_FALSE(is_zero(zeros));
}

}  // namespace
}  // namespace cairn::codec
