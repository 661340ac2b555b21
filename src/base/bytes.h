// Byte views, hex and base64 (RFC 4648), little-endian integers. Pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// As C libraries take bytes.
inline const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}
inline unsigned char* raw(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

std::string to_hex(ByteView bytes);
// Lower-case hex of exactly out.size() bytes, else kInvalid.
Status parse_hex(std::string_view text, std::span<std::byte> out);

std::string to_base64(ByteView bytes);
// Standard alphabet with padding; kInvalid otherwise.
Result<Bytes> parse_base64(std::string_view text);

inline std::uint32_t load_le32(const std::byte* at) {
  return std::to_integer<std::uint32_t>(at[0]) | std::to_integer<std::uint32_t>(at[1]) << 8U |
         std::to_integer<std::uint32_t>(at[2]) << 16U |
         std::to_integer<std::uint32_t>(at[3]) << 24U;
}
inline void store_le32(std::byte* at, std::uint32_t value) {
  for (unsigned i = 0; i < 4; ++i) at[i] = static_cast<std::byte>(value >> (8U * i));
}
inline std::uint64_t load_le64(const std::byte* at) {
  return load_le32(at) | static_cast<std::uint64_t>(load_le32(at + 4)) << 32U;
}
inline void store_le64(std::byte* at, std::uint64_t value) {
  store_le32(at, static_cast<std::uint32_t>(value));
  store_le32(at + 4, static_cast<std::uint32_t>(value >> 32U));
}

}  // namespace cairn
