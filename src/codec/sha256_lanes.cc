#include "codec/sha256_lanes.h"

#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "base/check.h"

namespace cairn::codec {

#if defined(__x86_64__)

namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
alignas(16) constexpr std::array<std::uint32_t, 64> kRounds = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::size_t kLanes = 2;

#define CAIRN_SHA __attribute__((target("sha,sse4.1"), always_inline)) inline

struct Words {
  __m128i four;
};

// The instructions want the words as (a, b, e, f) and (c, d, g, h), highest first.
struct Lane {
  __m128i abef;
  __m128i cdgh;
  std::array<Words, 4> words;  // of the message: the last sixteen
};

CAIRN_SHA void load(Lane& lane, const Sha256State& state) {
  const auto* words = reinterpret_cast<const __m128i*>(state.data());
  const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
  lane.abef = _mm_alignr_epi8(cdab, efgh, 8);
  lane.cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
}

CAIRN_SHA void store(const Lane& lane, Sha256State& state) {
  const __m128i feba = _mm_shuffle_epi32(lane.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(lane.cdgh, 0xb1);
  auto* words = reinterpret_cast<__m128i*>(state.data());
  _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

// Rounds 4 * kGroup to 4 * kGroup + 3, and the message words that they need.
template <std::size_t kGroup>
CAIRN_SHA void rounds(Lane& lane, const std::byte* block) {
  __m128i& words = lane.words[kGroup % 4].four;
  if constexpr (kGroup < 4) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    words = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + kGroup),
                             big_endian);
  } else {
    const __m128i& before = lane.words[(kGroup - 1) % 4].four;
    const __m128i& second = lane.words[(kGroup - 2) % 4].four;
    const __m128i& third = lane.words[(kGroup - 3) % 4].four;
    const __m128i sum =
        _mm_add_epi32(_mm_sha256msg1_epu32(words, third), _mm_alignr_epi8(before, second, 4));
    words = _mm_sha256msg2_epu32(sum, before);
  }
  const auto* constants = reinterpret_cast<const __m128i*>(kRounds.data()) + kGroup;
  const __m128i sums = _mm_add_epi32(words, _mm_load_si128(constants));
  lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, sums);
  lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, _mm_shuffle_epi32(sums, 0x0e));
}

template <std::size_t... kGroups>
CAIRN_SHA void all_rounds(std::array<Lane, kLanes>& lanes,
                          const std::array<const std::byte*, kLanes>& blocks,
                          std::index_sequence<kGroups...>) {
  ((rounds<kGroups>(lanes[0], blocks[0]), rounds<kGroups>(lanes[1], blocks[1])), ...);
}

#undef CAIRN_SHA

}  // namespace

bool has_sha256_lanes() {
  static const bool has = [] {
    __builtin_cpu_init();
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    // Intel's manual, volume 2, CPUID: leaf 7, EBX bit 29.
    return __builtin_cpu_supports("sse4.1") != 0 &&
           __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx >> 29U & 1U) != 0;
  }();
  return has;
}

__attribute__((target("sha,sse4.1"))) void compress_two(Sha256State& first,
                                                        Sha256State& second,
                                                        const std::byte* first_data,
                                                        const std::byte* second_data,
                                                        std::size_t blocks) {
  std::array<Lane, kLanes> lanes;
  load(lanes[0], first);
  load(lanes[1], second);
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::array<Lane, kLanes> before = lanes;
    all_rounds(lanes, {first_data, second_data}, std::make_index_sequence<16>());
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane].abef = _mm_add_epi32(lanes[lane].abef, before[lane].abef);
      lanes[lane].cdgh = _mm_add_epi32(lanes[lane].cdgh, before[lane].cdgh);
    }
    first_data += kSha256BlockBytes;
    second_data += kSha256BlockBytes;
  }
  store(lanes[0], first);
  store(lanes[1], second);
}

#else

bool has_sha256_lanes() {
  return false;
}

void compress_two(Sha256State&, Sha256State&, const std::byte*, const std::byte*, std::size_t) {
  CHECK(false);
}

#endif

}  // namespace cairn::codec
