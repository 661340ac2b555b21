#include "volume/archive_wire.h"

#include <array>

namespace cairn::volume {

namespace {

using codec::TarEntry;
using codec::TarType;

constexpr std::uint32_t kNanosecondsMax = 999'999'999;
constexpr std::uint32_t kModeMax = 07777;

Error corrupt() {
  return Error(Code::kCorrupt, "the parser of archives sent what it may not send");
}

void put_number(std::string& out, std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  store_le64(bytes.data(), value);
  out += as_text(bytes);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out += text;
}

// Takes fields off the front of a payload; what is not there or out of range fails them all.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : left_(bytes) {}

  std::uint64_t number(std::uint64_t max) {
    if (left_.size() < 8) return fail();
    const std::uint64_t value = load_le64(as_bytes(left_).data());
    left_.remove_prefix(8);
    return value <= max ? value : fail();
  }
  std::uint32_t small(std::uint32_t max) { return static_cast<std::uint32_t>(number(max)); }
  std::string text(std::size_t max) {
    const std::uint64_t size = number(max);
    if (size > left_.size()) {
      fail();
      return {};
    }
    std::string out(left_.substr(0, size));
    left_.remove_prefix(size);
    return out;
  }
  [[nodiscard]] bool whole() const { return !failed_ && left_.empty(); }

 private:
  std::uint64_t fail() {
    failed_ = true;
    left_ = {};
    return 0;
  }
  std::string_view left_;
  bool failed_ = false;
};

bool has_nul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

// The link's text is what its type allows.
Status check_link(const TarEntry& entry) {
  if (entry.type == TarType::kHardLink) {
    auto parts = codec::split_tar_path(entry.link);
    return parts.ok() && !parts->empty() ? Status() : corrupt();
  }
  const bool wanted = entry.type == TarType::kSymlink;
  return wanted == entry.link.empty() || has_nul(entry.link) ? corrupt() : Status();
}

}  // namespace

std::string encode_head(WireType type, std::size_t payload_bytes) {
  std::array<std::byte, kWireHeadBytes> bytes{};
  store_le32(bytes.data(), static_cast<std::uint32_t>(payload_bytes));
  bytes[4] = static_cast<std::byte>(type);
  return std::string(as_text(bytes));
}

Result<WireHead> decode_head(std::string_view bytes) {
  if (bytes.size() != kWireHeadBytes) return corrupt();
  const std::uint32_t size = load_le32(as_bytes(bytes).data());
  const auto type = static_cast<unsigned char>(bytes[4]);
  if (size > kWireFrameBytesMax || type < static_cast<unsigned char>(WireType::kEntry) ||
      type > static_cast<unsigned char>(WireType::kError)) {
    return corrupt();
  }
  return WireHead{.type = static_cast<WireType>(type), .payload_bytes = size};
}

std::string encode_entry(const TarEntry& entry) {
  std::string out;
  put_number(out, static_cast<std::uint64_t>(entry.type));
  put_text(out, entry.path);
  put_text(out, entry.link);
  put_number(out, entry.mode);
  put_number(out, entry.uid);
  put_number(out, entry.gid);
  put_number(out, static_cast<std::uint64_t>(entry.mtime.seconds));
  put_number(out, entry.mtime.nanoseconds);
  put_number(out, entry.size_bytes);
  put_number(out, entry.device_major);
  put_number(out, entry.device_minor);
  put_number(out, entry.xattrs.size());
  for (const codec::TarXattr& xattr : entry.xattrs) {
    put_text(out, xattr.name);
    put_text(out, xattr.value);
  }
  return out;
}

Result<TarEntry> decode_entry(std::string_view payload) {
  Fields fields(payload);
  TarEntry entry;
  entry.type =
      static_cast<TarType>(fields.number(static_cast<std::uint64_t>(TarType::kBlockDevice)));
  entry.path = fields.text(codec::kTarPathBytesMax);
  entry.link = fields.text(codec::kTarPathBytesMax);
  entry.mode = fields.small(kModeMax);
  entry.uid = fields.small(UINT32_MAX - 1);
  entry.gid = fields.small(UINT32_MAX - 1);
  entry.mtime.seconds = static_cast<std::int64_t>(fields.number(UINT64_MAX));
  entry.mtime.nanoseconds = fields.small(kNanosecondsMax);
  entry.size_bytes = fields.number(codec::kTarFileBytesMax);
  entry.device_major = fields.small(UINT32_MAX);
  entry.device_minor = fields.small(UINT32_MAX);
  const std::uint64_t xattrs = fields.number(codec::kTarXattrsMax);
  for (std::uint64_t i = 0; i < xattrs; ++i) {
    codec::TarXattr xattr;
    xattr.name = fields.text(codec::kTarXattrNameBytesMax);
    xattr.value = fields.text(codec::kTarXattrBytesMax);
    if (xattr.name.empty() || has_nul(xattr.name)) return corrupt();
    if (!entry.xattrs.empty() && entry.xattrs.back().name >= xattr.name) return corrupt();
    entry.xattrs.push_back(std::move(xattr));
  }
  if (!fields.whole()) return corrupt();
  const auto parts = codec::split_tar_path(entry.path);
  if (!parts.ok() || (parts->empty() && entry.type != TarType::kDirectory)) return corrupt();
  if (entry.type != TarType::kFile && entry.size_bytes != 0) return corrupt();
  TRY(check_link(entry));
  return entry;
}

}  // namespace cairn::volume
