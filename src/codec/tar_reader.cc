// feed: header -> [payloads of x, L, K] -> entry -> [map of its holes] -> data -> padding -> header
//       two blocks of zeros -> zeros
#include "codec/tar_reader.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "codec/tar_fields.h"

namespace cairn::codec {

namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";
constexpr std::string_view kAclPrefix = "SCHILY.acl.";
constexpr std::uint64_t kOctalSizeMax = (std::uint64_t{1} << 33U) - 1;  // eleven digits
constexpr std::uint64_t kIdMax = 0xFFFFFFFEU;                           // -1 means "no change"
constexpr std::uint64_t kModeMax = 0177777;                             // some add the type's bits
constexpr std::uint64_t kDeviceMax = (1U << 21U) - 1;

Error refuse(std::string why) {
  return Error(Code::kInvalid, std::move(why));
}

bool is_zero(std::string_view block) {
  return block.find_first_not_of('\0') == std::string_view::npos;
}

std::uint64_t padding_of(std::uint64_t bytes) {
  return (kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes;
}

std::optional<TarType> type_of(char flag) {
  switch (flag) {
    case '0':
    case '\0':
    case 'S':
      return TarType::kFile;
    case '1':
      return TarType::kHardLink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    default:
      return std::nullopt;
  }
}

Result<std::uint32_t> parse_id(std::string_view field) {
  TRY_ASSIGN(const std::uint64_t value, parse_tar_size(field));
  if (value > kIdMax) return refuse("an owner out of range");
  return static_cast<std::uint32_t>(value);
}

Result<std::uint64_t> parse_record_number(const std::string& text, std::uint64_t max) {
  const auto value = parse_uint(text);
  if (!value || *value > max) return refuse("a pax number that is none or out of range");
  return *value;
}

Status add_xattr(TarEntry& entry, std::string_view key, const std::string& value) {
  TRY_ASSIGN(std::string name, parse_xattr_key(key));
  if (name.empty() || name.size() > kTarXattrNameBytesMax || value.size() > kTarXattrBytesMax ||
      entry.xattrs.size() == kTarXattrsMax) {
    return refuse("an extended attribute is larger than allowed");
  }
  if (name.find('\0') != std::string::npos) return refuse("a NUL in an attribute's name");
  const auto same = [&name](const TarXattr& other) { return other.name == name; };
  if (std::any_of(entry.xattrs.begin(), entry.xattrs.end(), same)) {
    return refuse("an extended attribute is given twice");
  }
  entry.xattrs.push_back({std::move(name), value});
  return {};
}

std::string joined(const std::vector<std::string>& parts) {
  std::string path;
  for (const std::string& part : parts) path += (path.empty() ? "" : "/") + part;
  return path.empty() ? "." : path;
}

// The name in a ustar or GNU header.
std::string header_name(std::string_view block) {
  std::string name(text_of(field_of(block, kTarName)));
  const std::string_view prefix = text_of(field_of(block, kTarPrefix));
  if (field_of(block, kTarMagic) == kUstarMagic && !prefix.empty()) {
    name = std::string(prefix) + "/" + name;
  }
  return name;
}

}  // namespace

void TarReader::expect(Phase phase, std::size_t bytes) {
  phase_ = phase;
  wanted_ = bytes;
  buffer_.clear();
}

Status TarReader::feed(ByteView bytes) {
  while (!bytes.empty()) {
    if (phase_ == Phase::kData) {
      const TarExtent& extent = extents_[extent_];
      const std::uint64_t left = extent.bytes - extent_at_;
      const ByteView piece =
          bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, bytes.size())));
      TRY(sink_.data(extent.offset + extent_at_, piece));
      bytes = bytes.subspan(piece.size());
      advance(piece.size());
    } else if (phase_ == Phase::kPadding) {
      const std::size_t size = std::min(padding_, bytes.size());
      bytes = bytes.subspan(size);
      padding_ -= size;
      if (padding_ == 0) expect(Phase::kHeader, kTarBlockBytes);
    } else if (phase_ == Phase::kTail) {
      if (!is_zero(as_text(bytes))) return refuse("data after the end of the archive");
      tail_bytes_ += bytes.size();
      if (tail_bytes_ > kTarTailBytesMax) return refuse("too many bytes after the end");
      return {};
    } else {
      const std::size_t size = std::min(wanted_ - buffer_.size(), bytes.size());
      buffer_ += as_text(bytes.first(size));
      bytes = bytes.subspan(size);
      if (buffer_.size() == wanted_) TRY(collected());
    }
  }
  return {};
}

Status TarReader::finish() {
  if (phase_ != Phase::kTail) return refuse("the archive ends before its end blocks");
  return {};
}

Status TarReader::collected() {
  switch (phase_) {
    case Phase::kHeader:
      return header();
    case Phase::kPayload:
      return payload();
    case Phase::kOldMap:
      return old_map();
    case Phase::kMap:
      return map_block();
    case Phase::kLastBlock:
      return last_block();
    case Phase::kData:
    case Phase::kPadding:
    case Phase::kTail:
      break;
  }
  return {};
}

Status TarReader::last_block() {
  if (!is_zero(buffer_)) return refuse("a single block of zeros between entries");
  expect(Phase::kTail, 0);
  return {};
}

Status TarReader::header() {
  if (is_zero(buffer_)) {
    if (records_ || long_name_ || long_link_) return refuse("an extended header without an entry");
    expect(Phase::kLastBlock, kTarBlockBytes);
    return {};
  }
  if (!has_tar_checksum(buffer_)) return refuse("the checksum of a header is wrong");
  const std::string_view magic = field_of(buffer_, kTarMagic);
  if (magic != kUstarMagic && magic != kGnuMagic) {
    return refuse("a header that is neither ustar nor GNU");
  }
  const char type = buffer_[kTarTypeAt];
  if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
    TRY_ASSIGN(const std::uint64_t size, parse_tar_size(field_of(buffer_, kTarSize)));
    return begin_payload(type, size);
  }
  block_ = buffer_;
  TRY_ASSIGN(entry_, build_entry(type, stored_bytes_));
  const std::optional<Records> records = std::exchange(records_, std::nullopt);
  long_name_.reset();
  long_link_.reset();
  if (++entries_ > limits_.entries_max) return refuse("more entries than allowed");

  extents_.clear();
  extents_bytes_ = 0;
  map_from_ = 0;
  if (type == 'S') return begin_old_map();
  if (records && records->contains("GNU.sparse.major")) {
    map_count_.reset();
    map_offset_.reset();
    map_digits_.clear();
    if (stored_bytes_ == 0) return refuse("a file with holes that has no map of them");
    expect(Phase::kMap, kTarBlockBytes);
    return {};
  }
  if (stored_bytes_ != 0) extents_.push_back({0, stored_bytes_});
  extents_bytes_ = stored_bytes_;
  entry_.size_bytes = stored_bytes_;
  return begin_entry();
}

Status TarReader::begin_payload(char type, std::uint64_t size) {
  const bool repeated =
      (type == 'x' && records_) || (type == 'L' && long_name_) || (type == 'K' && long_link_);
  if (repeated) return refuse("two extended headers of one kind before an entry");
  if (type == 'g' && ++globals_ > kTarGlobalsMax) return refuse("too many global headers");
  const std::size_t max = type == 'x' || type == 'g' ? kTarPaxBytesMax : kTarPathBytesMax + 1;
  if (size > max) return refuse("an extended header is larger than allowed");
  if (size == 0) return refuse("an extended header is empty");
  payload_type_ = type;
  payload_bytes_ = static_cast<std::size_t>(size);
  expect(Phase::kPayload, payload_bytes_ + static_cast<std::size_t>(padding_of(size)));
  return {};
}

Status TarReader::payload() {
  buffer_.resize(payload_bytes_);
  if (payload_type_ == 'x' || payload_type_ == 'g') {
    Records records;
    TRY(pax_records(records));
    if (payload_type_ == 'x') {
      records_ = std::move(records);
    } else if (records.size() != 1 || !records.contains("comment")) {
      return refuse("a global header that says more than a comment");
    }
  } else {
    if (buffer_.back() == '\0') buffer_.pop_back();
    if (buffer_.empty() || buffer_.find('\0') != std::string::npos) {
      return refuse("a malformed long name");
    }
    (payload_type_ == 'L' ? long_name_ : long_link_) = buffer_;
  }
  expect(Phase::kHeader, kTarBlockBytes);
  return {};
}

Status TarReader::pax_records(Records& records) {
  std::string_view text = buffer_;
  while (!text.empty()) {
    TRY_ASSIGN(auto record, take_pax_record(text));
    const std::string key = record.first;
    if (!records.insert(std::move(record)).second) {
      return refuse("pax record " + printable(key, 80) + " is given twice");
    }
  }
  return {};
}

// The entry that the header, and what stood before it, describe; stored_bytes: what lies behind it.
Result<TarEntry> TarReader::build_entry(char flag, std::uint64_t& stored_bytes) {
  const std::optional<TarType> type = type_of(flag);
  if (!type) return refuse("an entry of unknown type '" + printable(std::string(1, flag)) + "'");
  TarEntry entry;
  entry.type = *type;
  TRY_ASSIGN(stored_bytes, parse_tar_size(field_of(block_, kTarSize)));
  TRY_ASSIGN(const std::uint64_t mode, parse_tar_size(field_of(block_, kTarMode)));
  if (mode > kModeMax) return refuse("a mode out of range");
  entry.mode = static_cast<std::uint32_t>(mode & 07777U);
  TRY_ASSIGN(entry.uid, parse_id(field_of(block_, kTarUid)));
  TRY_ASSIGN(entry.gid, parse_id(field_of(block_, kTarGid)));
  TRY_ASSIGN(entry.mtime.seconds, parse_tar_number(field_of(block_, kTarMtime)));
  if (entry.type == TarType::kCharDevice || entry.type == TarType::kBlockDevice) {
    TRY_ASSIGN(const std::uint64_t major, parse_tar_size(field_of(block_, kTarMajor)));
    TRY_ASSIGN(const std::uint64_t minor, parse_tar_size(field_of(block_, kTarMinor)));
    if (major > kDeviceMax || minor > kDeviceMax) return refuse("a device out of range");
    entry.device_major = static_cast<std::uint32_t>(major);
    entry.device_minor = static_cast<std::uint32_t>(minor);
  }
  TRY(name_entry(entry));
  TRY(apply_records(entry, stored_bytes));
  if (entry.type != TarType::kFile && stored_bytes != 0) {
    return refuse("data behind an entry that is no file: " + printable(entry.path, 120));
  }
  if (stored_bytes > kTarFileBytesMax) return refuse("a file is larger than allowed");
  return entry;
}

// Exactly one name each, wherever it stands.
Status TarReader::name_entry(TarEntry& entry) {
  std::string path = long_name_ ? *long_name_ : header_name(block_);
  std::string link = long_link_ ? *long_link_ : std::string(text_of(field_of(block_, kTarLink)));
  if (records_) {
    const auto named = records_->find("path");
    const auto linked = records_->find("linkpath");
    if ((named != records_->end() && long_name_) || (linked != records_->end() && long_link_)) {
      return refuse("an entry has a GNU and a pax name");
    }
    if (named != records_->end()) path = named->second;
    if (linked != records_->end()) link = linked->second;
    const auto sparse = records_->find("GNU.sparse.name");
    if (sparse != records_->end()) path = sparse->second;
  }
  const bool slash = path.ends_with('/');
  TRY_ASSIGN(const std::vector<std::string> parts, split_tar_path(path));
  entry.path = joined(parts);
  if (entry.type != TarType::kDirectory && (slash || parts.empty())) {
    return refuse("'" + printable(path, 120) + "' is named like a directory and is none");
  }
  if (entry.type == TarType::kSymlink) {
    if (link.empty() || link.size() > kTarLinkBytesMax || link.find('\0') != std::string::npos) {
      return refuse("the target of a symbolic link is empty, too long or holds a NUL");
    }
    entry.link = std::move(link);
  } else if (entry.type == TarType::kHardLink) {
    TRY_ASSIGN(const std::vector<std::string> target, split_tar_path(link));
    if (target.empty()) return refuse("a hard link to the archive's root");
    entry.link = joined(target);
  }
  return {};
}

Status TarReader::apply_records(TarEntry& entry, std::uint64_t& stored_bytes) {
  if (!records_) return {};
  bool holes = false;
  for (const auto& [key, value] : *records_) {
    if (key == "size") {
      TRY_ASSIGN(const std::uint64_t size, parse_record_number(value, kTarFileBytesMax));
      // What a reader that does not know pax would take for the size must be the same one, unless
      // it has no room there.
      const bool same = stored_bytes == size || (stored_bytes == 0 && size > kOctalSizeMax);
      if (!same) return refuse("the pax size contradicts the header's");
      stored_bytes = size;
    } else if (key == "uid" || key == "gid") {
      TRY_ASSIGN(const std::uint64_t id, parse_record_number(value, kIdMax));
      (key == "uid" ? entry.uid : entry.gid) = static_cast<std::uint32_t>(id);
    } else if (key == "mtime") {
      TRY_ASSIGN(entry.mtime, parse_pax_time(value));
    } else if (key.starts_with(kXattrPrefix)) {
      TRY(add_xattr(entry, std::string_view(key).substr(kXattrPrefix.size()), value));
    } else if (key.starts_with(kAclPrefix)) {
      return refuse("an ACL as text (SCHILY.acl), which cannot be imported");
    } else if (key.starts_with(kSparsePrefix)) {
      holes = true;
    }
  }
  std::sort(entry.xattrs.begin(), entry.xattrs.end(),
            [](const TarXattr& a, const TarXattr& b) { return a.name < b.name; });
  if (!holes) return {};
  const auto at = [this](const char* key) {
    const auto found = records_->find(std::string(kSparsePrefix) + key);
    return found == records_->end() ? std::string() : found->second;
  };
  const std::size_t known = static_cast<std::size_t>(
      std::count_if(records_->begin(), records_->end(),
                    [](const auto& record) { return record.first.starts_with(kSparsePrefix); }));
  if (at("major") != "1" || at("minor") != "0" || at("name").empty() || known != 4 ||
      entry.type != TarType::kFile || block_[kTarTypeAt] == 'S') {
    return refuse("holes in a form that is not GNU.sparse 1.0");
  }
  TRY_ASSIGN(entry.size_bytes, parse_record_number(at("realsize"), kTarFileBytesMax));
  return {};
}

Status TarReader::begin_old_map() {
  if (field_of(block_, kTarMagic) != kGnuMagic) return refuse("a GNU entry in a ustar header");
  TRY_ASSIGN(entry_.size_bytes, parse_tar_size(field_of(block_, kTarOldRealSize)));
  if (entry_.size_bytes > kTarFileBytesMax) return refuse("a file is larger than allowed");
  buffer_ = block_;
  constexpr std::size_t kFirstCount = (kTarOldMapMoreAt - kTarOldMapAt) / 24;
  TRY(old_extents(kTarOldMapAt, kFirstCount));
  if (block_[kTarOldMapMoreAt] == '\0') return begin_entry();
  expect(Phase::kOldMap, kTarBlockBytes);
  return {};
}

Status TarReader::old_map() {
  TRY(old_extents(0, kTarOldMapExtraCount));
  if (buffer_[kTarOldMapExtraMoreAt] == '\0') return begin_entry();
  expect(Phase::kOldMap, kTarBlockBytes);
  return {};
}

Status TarReader::old_extents(std::size_t at, std::size_t count) {
  const std::string_view block = buffer_;
  for (std::size_t i = 0; i < count; ++i, at += 2 * kTarOldMapNumberBytes) {
    if (block[at] == '\0') return {};  // unused
    TRY_ASSIGN(const std::uint64_t offset, parse_tar_size(block.substr(at, kTarOldMapNumberBytes)));
    TRY_ASSIGN(const std::uint64_t bytes,
               parse_tar_size(block.substr(at + kTarOldMapNumberBytes, kTarOldMapNumberBytes)));
    map_offset_ = offset;
    TRY(map_number(bytes));
  }
  return {};
}

// The second number of a pair; the first is in map_offset_. Extents rise and stay in the file.
Status TarReader::map_number(std::uint64_t value) {
  const std::uint64_t offset = *std::exchange(map_offset_, std::nullopt);
  if (offset < map_from_ || offset > entry_.size_bytes || value > entry_.size_bytes - offset) {
    return refuse("the map of a file's holes is out of order or out of range");
  }
  map_from_ = offset + value;
  if (value == 0) return {};
  if (extents_.size() == kTarExtentsMax) return refuse("a file has more holes than allowed");
  extents_.push_back({offset, value});
  extents_bytes_ += value;
  return {};
}

// A block of a 1.0 map: decimal lines; the map ends in the block where its last number does.
Status TarReader::map_block() {
  if (stored_bytes_ < kTarBlockBytes) return refuse("the map of a file's holes is cut short");
  stored_bytes_ -= kTarBlockBytes;
  for (std::size_t i = 0; i < buffer_.size(); ++i) {
    if (map_count_ && *map_count_ == 0) break;  // the rest of the block is filled up
    const char c = buffer_[i];
    if (c != '\n') {
      if (c < '0' || c > '9' || map_digits_.size() == 20) return refuse("a malformed map of holes");
      map_digits_ += c;
      continue;
    }
    const auto parsed = parse_uint(map_digits_);
    map_digits_.clear();
    if (!parsed) return refuse("a malformed map of holes");
    const std::uint64_t value = *parsed;
    if (!map_count_) {
      if (value > kTarExtentsMax) return refuse("a file has more holes than allowed");
      map_count_ = value;
    } else if (!map_offset_) {
      map_offset_ = value;
    } else {
      TRY(map_number(value));
      --*map_count_;
    }
  }
  if (map_count_ && *map_count_ == 0) return begin_entry();
  expect(Phase::kMap, kTarBlockBytes);
  return {};
}

Status TarReader::begin_entry() {
  if (extents_bytes_ != stored_bytes_) return refuse("the map of a file's holes does not add up");
  total_bytes_ += entry_.size_bytes;  // each at most kTarFileBytesMax
  if (total_bytes_ > limits_.bytes_max) return refuse("more bytes than allowed");
  TRY(sink_.entry(entry_));
  padding_ = static_cast<std::size_t>(padding_of(stored_bytes_));
  extent_ = 0;
  extent_at_ = 0;
  if (!extents_.empty()) {
    phase_ = Phase::kData;
  } else {
    expect(Phase::kHeader, kTarBlockBytes);
  }
  return {};
}

void TarReader::advance(std::size_t bytes) {
  extent_at_ += bytes;
  if (extent_at_ < extents_[extent_].bytes) return;
  extent_at_ = 0;
  if (++extent_ < extents_.size()) return;
  if (padding_ == 0) {
    expect(Phase::kHeader, kTarBlockBytes);
  } else {
    phase_ = Phase::kPadding;
  }
}

}  // namespace cairn::codec
