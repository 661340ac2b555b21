// Fields of a tar header block and records of a pax header, read strictly. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace cairn::codec {

// Where the fields of a header block are (POSIX.1-2017, pax; GNU tar's tar.h).
struct TarField {
  std::size_t at;
  std::size_t bytes;
};
inline constexpr TarField kTarName{0, 100};
inline constexpr TarField kTarMode{100, 8};
inline constexpr TarField kTarUid{108, 8};
inline constexpr TarField kTarGid{116, 8};
inline constexpr TarField kTarSize{124, 12};
inline constexpr TarField kTarMtime{136, 12};
inline constexpr TarField kTarChecksum{148, 8};
inline constexpr std::size_t kTarTypeAt = 156;
inline constexpr TarField kTarLink{157, 100};
inline constexpr TarField kTarMagic{257, 8};
inline constexpr TarField kTarMajor{329, 8};
inline constexpr TarField kTarMinor{337, 8};
inline constexpr TarField kTarPrefix{345, 155};
// Of GNU's old form of holes: four pairs of numbers, whether more follow, the file's size.
inline constexpr std::size_t kTarOldMapAt = 386;
inline constexpr std::size_t kTarOldMapMoreAt = 482;
inline constexpr TarField kTarOldRealSize{483, 12};
inline constexpr std::size_t kTarOldMapNumberBytes = 12;
inline constexpr std::size_t kTarOldMapExtraCount = 21;  // pairs in a block that follows
inline constexpr std::size_t kTarOldMapExtraMoreAt = 504;

inline constexpr std::string_view kUstarMagic{"ustar\00000", 8};
inline constexpr std::string_view kGnuMagic{"ustar  \0", 8};

inline std::string_view field_of(std::string_view block, TarField field) {
  return block.substr(field.at, field.bytes);
}
// Up to the first NUL.
std::string_view text_of(std::string_view field);
// Octal digits, or GNU's base 256; kInvalid for anything else and for what has no place in 63 bits.
// Nothing but spaces and NULs is 0.
Result<std::int64_t> parse_tar_number(std::string_view field);
// The same, and kInvalid below 0.
Result<std::uint64_t> parse_tar_size(std::string_view field);
// True where the block's checksum is that of its bytes.
bool has_tar_checksum(std::string_view block);

// The record at the front of text, which is shortened by it: "LENGTH KEY=VALUE\n".
Result<std::pair<std::string, std::string>> take_pax_record(std::string_view& text);
// "[-]SECONDS[.FRACTION]"; what is finer than nanoseconds is cut.
Result<Timespec> parse_pax_time(std::string_view text);
// The name of an attribute in a key (without its prefix): %25 is "%", %3D is "=".
Result<std::string> parse_xattr_key(std::string_view key);

}  // namespace cairn::codec
