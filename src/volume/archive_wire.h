// What the parser of archives tells the daemon, as frames on a stream: four bytes of length (little
// endian), one of type, a payload. The daemon trusts none of it: decoding checks every field again.
// Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/tar.h"

namespace cairn::volume {

inline constexpr std::size_t kWireFrameBytesMax = std::size_t{32} << 20U;
inline constexpr std::size_t kWireHeadBytes = 5;
inline constexpr std::size_t kWireErrorBytesMax = 2000;  // of a sentence

enum class WireType : std::uint8_t {
  kEntry = 1,  // encode_entry
  kData = 2,   // eight bytes of offset, then bytes of the last entry
  kEnd = 3,    // the archive is whole
  kError = 4,  // a sentence: why it is not accepted
};

struct WireHead {
  WireType type = WireType::kEnd;
  std::size_t payload_bytes = 0;
};
std::string encode_head(WireType type, std::size_t payload_bytes);
// Of exactly kWireHeadBytes bytes; kCorrupt for an unknown type or a payload past the bound.
Result<WireHead> decode_head(std::string_view bytes);

std::string encode_entry(const codec::TarEntry& entry);
// kCorrupt unless every field is in the range that codec/tar.h names, the path is one that
// split_tar_path accepts, and nothing is left over.
Result<codec::TarEntry> decode_entry(std::string_view payload);

}  // namespace cairn::volume
