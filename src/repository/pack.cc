#include "repository/pack.h"

#include <algorithm>

#include "repository/limits.h"

namespace cairn::repository {

namespace {

constexpr std::size_t kPlainEntryBytes = 1 + 4 + 32;
constexpr std::size_t kCompressedEntryBytes = kPlainEntryBytes + 4;
constexpr std::size_t kLengthBytes = 4;
constexpr unsigned kCompressedBit = 2;

std::size_t entry_bytes(const PackedBlob& blob) {
  return blob.plain_bytes == 0 ? kPlainEntryBytes : kCompressedEntryBytes;
}

void append_entry(Bytes& out, const PackedBlob& blob) {
  const std::size_t start = out.size();
  out.resize(start + entry_bytes(blob));
  std::byte* at = out.data() + start;
  const unsigned compressed = blob.plain_bytes == 0 ? 0 : kCompressedBit;
  *at++ = static_cast<std::byte>(static_cast<unsigned>(blob.type) | compressed);
  store_le32(at, blob.length);
  at += 4;
  if (compressed != 0) {
    store_le32(at, blob.plain_bytes);
    at += 4;
  }
  std::copy(blob.id.bytes.begin(), blob.id.bytes.end(), at);
}

Error corrupt(std::string_view why) {
  return Error(Code::kCorrupt, std::string("pack header: ") + std::string(why));
}

}  // namespace

std::uint64_t plain_size(const PackedBlob& blob) {
  return blob.plain_bytes != 0 ? blob.plain_bytes : blob.length - codec::kBoxOverheadBytes;
}

std::uint64_t pack_size(const std::vector<PackedBlob>& blobs) {
  std::uint64_t size = codec::kBoxOverheadBytes + kLengthBytes;
  for (const PackedBlob& blob : blobs) size += blob.length + entry_bytes(blob);
  return size;
}

PackBuilder::PackBuilder(Bytes buffer) : content_(std::move(buffer)) {
  content_.clear();
  content_.reserve(kPackBytesTarget + kPackBytesTarget / 8);
}

void PackBuilder::add(PackedBlob blob, ByteView sealed) {
  blob.offset = static_cast<std::uint32_t>(content_.size());
  blob.length = static_cast<std::uint32_t>(sealed.size());
  content_.insert(content_.end(), sealed.begin(), sealed.end());
  pack_.blobs.push_back(blob);
}

PackBuilder::Finished PackBuilder::finish(codec::Box& box) && {
  Bytes header;
  for (const PackedBlob& blob : pack_.blobs) append_entry(header, blob);
  const std::size_t start = content_.size();
  box.seal(header, content_);
  const auto sealed_bytes = static_cast<std::uint32_t>(content_.size() - start);
  content_.resize(content_.size() + kLengthBytes);
  store_le32(content_.data() + content_.size() - kLengthBytes, sealed_bytes);
  CHECK(content_.size() == pack_size(pack_.blobs));
  pack_.id = codec::sha256(content_);
  return {std::move(content_), std::move(pack_)};
}

Result<std::vector<PackedBlob>> parse_pack_header(ByteView header) {
  std::vector<PackedBlob> blobs;
  std::uint64_t offset = 0;
  while (!header.empty()) {
    const auto type = std::to_integer<unsigned>(header[0]);
    if (type > 3) return corrupt("unknown blob type");
    const bool compressed = (type & kCompressedBit) != 0;
    const std::size_t size = compressed ? kCompressedEntryBytes : kPlainEntryBytes;
    if (header.size() < size) return corrupt("cut short");
    PackedBlob blob;
    blob.type = (type & 1U) != 0 ? BlobType::kTree : BlobType::kData;
    blob.length = load_le32(header.data() + 1);
    if (compressed) blob.plain_bytes = load_le32(header.data() + 5);
    if (blob.length < codec::kBoxOverheadBytes) return corrupt("blob shorter than its box");
    if (compressed && blob.plain_bytes == 0) return corrupt("compressed blob of no bytes");
    if (offset + blob.length > UINT32_MAX) return corrupt("pack too large");
    blob.offset = static_cast<std::uint32_t>(offset);
    offset += blob.length;
    std::copy_n(header.begin() + static_cast<std::ptrdiff_t>(size - 32), 32, blob.id.bytes.begin());
    blobs.push_back(blob);
    header = header.subspan(size);
  }
  return blobs;
}

Result<std::vector<PackedBlob>> read_pack_header(ByteView pack, codec::Box& box) {
  if (pack.size() < kLengthBytes + codec::kBoxOverheadBytes) return corrupt("pack is too short");
  const std::size_t sealed_bytes = load_le32(pack.data() + pack.size() - kLengthBytes);
  if (sealed_bytes > kPackHeaderBytesMax || sealed_bytes > pack.size() - kLengthBytes) {
    return corrupt("length is wrong");
  }
  Bytes header;
  TRY(box.open(pack.subspan(pack.size() - kLengthBytes - sealed_bytes, sealed_bytes), header));
  TRY_ASSIGN(std::vector<PackedBlob> blobs, parse_pack_header(header));
  if (pack_size(blobs) != pack.size()) return corrupt("does not add up to the pack's size");
  return blobs;
}

}  // namespace cairn::repository
