// What a tar archive (POSIX.1-2017 pax, ustar, GNU) says of one entry, the names that Cairn accepts
// in one, and what bounds them. Pure functions and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace cairn::codec {

inline constexpr std::size_t kTarBlockBytes = 512;

// What is accepted of a foreign archive. What Cairn writes keeps to the same.
inline constexpr std::size_t kTarPathBytesMax = std::size_t{1} << 20U;
inline constexpr std::size_t kTarNameBytesMax = 255;  // of one component
inline constexpr std::size_t kTarDepthMax = 4000;     // components of a path
inline constexpr std::size_t kTarLinkBytesMax = 4095;
inline constexpr std::size_t kTarXattrsMax = 1024;  // of one entry
inline constexpr std::size_t kTarXattrNameBytesMax = 255;
inline constexpr std::size_t kTarXattrBytesMax = std::size_t{64} << 10U;  // of one value
inline constexpr std::size_t kTarExtentsMax = std::size_t{1} << 20U;      // of one file with holes
inline constexpr std::size_t kTarPaxBytesMax = std::size_t{8} << 20U;     // of one extended header
inline constexpr std::size_t kTarGlobalsMax = 16;                         // global headers
inline constexpr std::size_t kTarTailBytesMax = std::size_t{1} << 20U;    // zeros after the end
inline constexpr std::uint64_t kTarEntriesMax = 4'000'000;
inline constexpr std::uint64_t kTarFileBytesMax = std::uint64_t{1} << 40U;   // holes counted
inline constexpr std::uint64_t kTarTotalBytesMax = std::uint64_t{1} << 40U;  // of all files

enum class TarType { kFile, kDirectory, kSymlink, kHardLink, kFifo, kCharDevice, kBlockDevice };
// "regular files", "symbolic links", ...: for counts in messages.
std::string_view plural_of(TarType type);

struct TarXattr {
  std::string name;
  std::string value;
  bool operator==(const TarXattr&) const = default;
};

// A range of a file that holds data; the rest reads as zeros.
struct TarExtent {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  bool operator==(const TarExtent&) const = default;
};

struct TarEntry {
  TarType type = TarType::kFile;
  std::string path;        // relative, components joined by "/", without one at the end
  std::string link;        // text of a symbolic link, or the path of a hard link
  std::uint32_t mode = 0;  // 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  Timespec mtime;
  std::uint64_t size_bytes = 0;  // of files, holes counted
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<TarXattr> xattrs;
  bool operator==(const TarEntry&) const = default;
};

// The components of a path in an archive; "./" in front and "/" at the end are passed over, so that
// "." alone has none. kInvalid for what could name anything but a place beneath the archive's root:
// absolute paths, "..", "." or nothing between slashes, NUL, and what passes a bound above.
Result<std::vector<std::string>> split_tar_path(std::string_view path);

}  // namespace cairn::codec
