#include "codec/tar_writer.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace cairn::codec {

namespace {

// Offsets and lengths of the ustar header's fields.
constexpr std::size_t kNameAt = 0;
constexpr std::size_t kNameBytes = 100;
constexpr std::size_t kModeAt = 100;
constexpr std::size_t kUidAt = 108;
constexpr std::size_t kGidAt = 116;
constexpr std::size_t kSizeAt = 124;
constexpr std::size_t kMtimeAt = 136;
constexpr std::size_t kChecksumAt = 148;
constexpr std::size_t kTypeAt = 156;
constexpr std::size_t kLinkAt = 157;
constexpr std::size_t kMagicAt = 257;
constexpr std::size_t kMajorAt = 329;
constexpr std::size_t kMinorAt = 337;
constexpr std::uint64_t kShortNumberLimit = 1ULL << 21U;  // seven octal digits
constexpr std::uint64_t kLongNumberLimit = 1ULL << 33U;   // eleven octal digits

char type_flag(TarType type) {
  switch (type) {
    case TarType::kFile:
      return '0';
    case TarType::kHardLink:
      return '1';
    case TarType::kSymlink:
      return '2';
    case TarType::kCharDevice:
      return '3';
    case TarType::kBlockDevice:
      return '4';
    case TarType::kDirectory:
      return '5';
    case TarType::kFifo:
      return '6';
  }
  return '0';
}

void put(std::string& block, std::size_t at, std::string_view text) {
  block.replace(at, text.size(), text);
}

void put_octal(std::string& block, std::size_t at, int digits, std::uint64_t value) {
  put(block, at, fmt::format("{:0{}o}", value, digits));
}

std::string checksummed(std::string block) {
  put(block, kChecksumAt, "        ");
  std::uint64_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(block, kChecksumAt, fmt::format("{:06o}", sum));
  block[kChecksumAt + 6] = '\0';
  return block;
}

std::string empty_header(char type) {
  std::string block(kTarBlockBytes, '\0');
  put_octal(block, kModeAt, 7, 0);
  put_octal(block, kUidAt, 7, 0);
  put_octal(block, kGidAt, 7, 0);
  put_octal(block, kSizeAt, 11, 0);
  put_octal(block, kMtimeAt, 11, 0);
  block[kTypeAt] = type;
  put(block, kMagicAt, std::string_view("ustar\00000", 8));
  put_octal(block, kMajorAt, 7, 0);
  put_octal(block, kMinorAt, 7, 0);
  return block;
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
void add_record(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (rest + fmt::formatted_size("{}", length) != length) {
    length = rest + fmt::formatted_size("{}", length);
  }
  records += fmt::format("{} {}=", length, key);
  records += value;
  records += '\n';
}

// A key may not hold "=", so it is written as GNU tar writes it.
std::string xattr_key(std::string_view name) {
  std::string key = "SCHILY.xattr.";
  for (const char c : name) {
    if (c == '%') {
      key += "%25";
    } else if (c == '=') {
      key += "%3D";
    } else {
      key += c;
    }
  }
  return key;
}

std::string time_text(Timespec time) {
  if (time.nanoseconds == 0) return fmt::format("{}", time.seconds);
  // The fraction of a pax time counts away from zero.
  if (time.seconds < 0) {
    return fmt::format("-{}.{:09}", -(time.seconds + 1), 1'000'000'000U - time.nanoseconds);
  }
  return fmt::format("{}.{:09}", time.seconds, time.nanoseconds);
}

bool is_plain(std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) return false;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

// Where GNU tar puts the archived name of a file with holes, so that a reader that does not know
// them does not take the map for the file.
std::string sparse_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t base = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, base) + "GNUSparseFile.0/" + path.substr(base);
}

// Of GNU.sparse 1.0: the extents as decimal lines in front of the data, in whole blocks.
std::string sparse_map(const TarEntry& entry, const std::vector<TarExtent>& extents) {
  std::vector<TarExtent> lines = extents;
  const std::uint64_t end = lines.empty() ? 0 : lines.back().offset + lines.back().bytes;
  if (end != entry.size_bytes || lines.empty()) lines.push_back({entry.size_bytes, 0});
  std::string map = fmt::format("{}\n", lines.size());
  for (const TarExtent& one : lines) map += fmt::format("{}\n{}\n", one.offset, one.bytes);
  return map + tar_padding(map.size());
}

std::string records_of(const TarEntry& entry, const std::string& path, bool sparse) {
  std::string records;
  const bool foreign = !is_utf8(entry.path) || !is_utf8(entry.link);
  if (foreign) add_record(records, "hdrcharset", "BINARY");
  if (!is_plain(path, kNameBytes)) add_record(records, "path", path);
  if (!is_plain(entry.link, kNameBytes)) add_record(records, "linkpath", entry.link);
  if (entry.uid >= kShortNumberLimit) add_record(records, "uid", fmt::format("{}", entry.uid));
  if (entry.gid >= kShortNumberLimit) add_record(records, "gid", fmt::format("{}", entry.gid));
  const Timespec& time = entry.mtime;
  if (time.nanoseconds != 0 || time.seconds < 0 ||
      time.seconds >= static_cast<std::int64_t>(kLongNumberLimit)) {
    add_record(records, "mtime", time_text(time));
  }
  if (sparse) {
    add_record(records, "GNU.sparse.major", "1");
    add_record(records, "GNU.sparse.minor", "0");
    add_record(records, "GNU.sparse.name", entry.path);
    add_record(records, "GNU.sparse.realsize", fmt::format("{}", entry.size_bytes));
  }
  for (const TarXattr& xattr : entry.xattrs) {
    add_record(records, xattr_key(xattr.name), xattr.value);
  }
  return records;
}

std::string extended_header(const std::string& records) {
  std::string block = empty_header('x');
  put(block, kNameAt, "PaxHeaders/entry");
  put_octal(block, kModeAt, 7, 0644);
  put_octal(block, kSizeAt, 11, records.size());
  return checksummed(std::move(block)) + records + tar_padding(records.size());
}

}  // namespace

Result<std::string> encode_tar_header(const TarEntry& entry,
                                      const std::vector<TarExtent>* extents) {
  if (entry.path.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos) {
    return Error(Code::kInvalid, "a NUL in a name: " + printable(entry.path));
  }
  const bool sparse = extents != nullptr && entry.type == TarType::kFile;
  const std::string map = sparse ? sparse_map(entry, *extents) : std::string();
  std::string path = sparse ? sparse_path(entry.path) : entry.path;
  if (entry.type == TarType::kDirectory) path += '/';

  std::uint64_t data_bytes = entry.type == TarType::kFile ? entry.size_bytes : 0;
  if (sparse) {
    data_bytes = map.size();
    for (const TarExtent& one : *extents) data_bytes += one.bytes;
  }
  std::string records = records_of(entry, path, sparse);
  const bool large = data_bytes >= kLongNumberLimit;
  if (large) add_record(records, "size", fmt::format("{}", data_bytes));

  std::string block = empty_header(type_flag(entry.type));
  put(block, kNameAt, std::string_view(path).substr(0, kNameBytes));
  put(block, kLinkAt, std::string_view(entry.link).substr(0, kNameBytes));
  put_octal(block, kModeAt, 7, entry.mode);
  put_octal(block, kUidAt, 7, entry.uid < kShortNumberLimit ? entry.uid : 0);
  put_octal(block, kGidAt, 7, entry.gid < kShortNumberLimit ? entry.gid : 0);
  put_octal(block, kSizeAt, 11, large ? 0 : data_bytes);
  const std::int64_t seconds = entry.mtime.seconds;
  const bool ustar_time = seconds >= 0 && seconds < static_cast<std::int64_t>(kLongNumberLimit);
  put_octal(block, kMtimeAt, 11, ustar_time ? static_cast<std::uint64_t>(seconds) : 0);
  put_octal(block, kMajorAt, 7, entry.device_major);
  put_octal(block, kMinorAt, 7, entry.device_minor);
  const std::string extended = records.empty() ? std::string() : extended_header(records);
  return extended + checksummed(std::move(block)) + map;
}

std::string tar_padding(std::uint64_t data_bytes) {
  const std::uint64_t over = data_bytes % kTarBlockBytes;
  return std::string(over == 0 ? 0 : kTarBlockBytes - over, '\0');
}

std::string tar_end() {
  return std::string(2 * kTarBlockBytes, '\0');
}

}  // namespace cairn::codec
