#include "codec/chunker.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace cairn::codec {

namespace {

// The gear table: splitmix64 from a fixed seed. Changing it changes every cut, and with it what is
// shared with earlier snapshots.
constexpr std::array<std::uint64_t, 256> make_gear() {
  std::array<std::uint64_t, 256> gear{};
  std::uint64_t state = 0x636169726e000001ULL;
  for (std::uint64_t& value : gear) {
    state += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    value = z ^ (z >> 31U);
  }
  return gear;
}
constexpr std::array<std::uint64_t, 256> kGear = make_gear();

// The hash's top bits see the last 64 bytes. Before the normal size a cut needs 22 zero bits, after
// it 18, so that sizes gather around the normal one.
constexpr unsigned kHardShift = 64 - 22;
constexpr unsigned kEasyShift = 64 - 18;
constexpr std::size_t kWindowBytes = 64;

// The place after the first byte in [at, end) whose hash ends a chunk, or end.
template <unsigned kShift>
std::size_t scan(const std::byte* data, std::size_t at, std::size_t end, std::uint64_t& hash) {
  std::uint64_t h = hash;
  for (; at < end; ++at) {
    h = (h << 1U) + kGear[std::to_integer<std::size_t>(data[at])];
    if ((h >> kShift) == 0) {
      hash = h;
      return at + 1;
    }
  }
  hash = h;
  return end;
}

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kFixedFileBytesMin = 1024 * 1024;

// The more there is in one directory, the longer the chunks: the ids of all its files stand in one
// tree, 67 bytes each, and none of these rows has more than a million below it.
std::size_t fixed_chunk_bytes(std::uint64_t bytes) {
  constexpr std::size_t kKiB = 1024;
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30U;
  if (bytes <= 16 * kGiB) return 64 * kKiB;
  if (bytes <= 128 * kGiB) return 256 * kKiB;
  if (bytes <= 1024 * kGiB) return 1024 * kKiB;
  return 4096 * kKiB;
}

bool has_magic(ByteView head, std::size_t at, std::string_view magic) {
  return head.size() >= at + magic.size() &&
         std::memcmp(head.data() + at, magic.data(), magic.size()) == 0;
}

// Archives are a whole number of records long by chance, and are written anew, not in place.
bool is_tar(ByteView head) {
  return has_magic(head, 257, "ustar");
}

// Their length need not be whole pages: SQLite's may be 512 bytes, an image ends anywhere.
bool is_rewritten(ByteView head) {
  return has_magic(head, 0, "SQLite format 3") || has_magic(head, 0, "QFI\xfb") ||
         has_magic(head, 0, "KDMV") || has_magic(head, 0, "vhdxfile");
}

}  // namespace

std::size_t first_cut(ByteView data) {
  if (data.size() <= kChunkBytesMin) return data.size();
  const std::size_t normal = std::min(data.size(), kChunkBytesNormal);
  const std::size_t end = std::min(data.size(), kChunkBytesMax);
  std::uint64_t hash = 0;
  // The bytes before the minimum only matter as the hash's window.
  for (std::size_t i = kChunkBytesMin - kWindowBytes; i < kChunkBytesMin; ++i) {
    hash = (hash << 1U) + kGear[std::to_integer<std::size_t>(data[i])];
  }
  const std::size_t cut = scan<kHardShift>(data.data(), kChunkBytesMin, normal, hash);
  if (cut < normal || normal == end) return cut;
  return scan<kEasyShift>(data.data(), normal, end, hash);
}

ChunkPlan plan_chunks(const FileLook& file) {
  if (file.size_bytes < kFixedFileBytesMin) return {};
  const bool pages = file.size_bytes % kPageBytes == 0 && !is_tar(file.head);
  if (!pages && !file.has_holes && !is_rewritten(file.head)) return {};
  return {Chunking::kFixed, fixed_chunk_bytes(std::max(file.size_bytes, file.directory_bytes))};
}

bool is_zero(ByteView bytes) {
  if (bytes.empty()) return true;
  if (bytes[0] != std::byte{0}) return false;
  return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace cairn::codec
