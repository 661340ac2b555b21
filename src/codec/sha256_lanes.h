// SHA-256 (FIPS 180-4) of two messages at once. A core that has instructions for it waits for each
// one's result most of the time while it does one message; two fill the gaps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace cairn::codec {

inline constexpr std::size_t kSha256BlockBytes = 64;

// The eight words of a state, in the order of the standard.
using Sha256State = std::array<std::uint32_t, 8>;

// Whether this processor can: compress_two() may be called only then. Thread-safe.
bool has_sha256_lanes();

// Takes both states over `blocks` blocks of 64 bytes each; the messages may be the same.
// Thread-safe.
void compress_two(Sha256State& first,
                  Sha256State& second,
                  const std::byte* first_data,
                  const std::byte* second_data,
                  std::size_t blocks);

}  // namespace cairn::codec
