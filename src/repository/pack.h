// Packs: sealed blobs one after the other, then a sealed header that lists them. Layout in
// docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/crypto.h"
#include "codec/hash.h"
#include "repository/snapshot.h"

namespace cairn::repository {

enum class BlobType : std::uint8_t { kData, kTree };
// Where tables with a row for each type keep this one.
constexpr std::size_t slot(BlobType type) {
  return static_cast<std::size_t>(type);
}

struct PackedBlob {
  Id id;
  BlobType type = BlobType::kData;
  std::uint32_t offset = 0;       // in the pack
  std::uint32_t length = 0;       // sealed
  std::uint32_t plain_bytes = 0;  // uncompressed; 0: stored as it is
  bool operator==(const PackedBlob&) const = default;
};

struct IndexedPack {
  Id id;
  std::vector<PackedBlob> blobs;  // in the pack's order
};

// The plain size of a blob, from how it is stored.
std::uint64_t plain_size(const PackedBlob& blob);
// The size that a pack with these blobs must have.
std::uint64_t pack_size(const std::vector<PackedBlob>& blobs);

// Collects sealed blobs. One thread at a time.
class PackBuilder {
 public:
  // buffer: room to begin with, its content is dropped; the pages of a new one cost as much as
  // encrypting into it.
  explicit PackBuilder(Bytes buffer = {});
  // blob.offset is set here.
  void add(PackedBlob blob, ByteView sealed);
  [[nodiscard]] std::size_t size_bytes() const { return content_.size(); }
  [[nodiscard]] std::size_t blobs() const { return pack_.blobs.size(); }
  [[nodiscard]] bool empty() const { return pack_.blobs.empty(); }

  struct Finished {
    Bytes content;
    IndexedPack pack;
  };
  // Appends the header; the builder is spent.
  Finished finish(codec::Box& box) &&;

 private:
  Bytes content_;
  IndexedPack pack_;
};

// The opened header of a pack; kCorrupt.
Result<std::vector<PackedBlob>> parse_pack_header(ByteView header);
// The header of a whole pack; kCorrupt where it is broken or does not add up to the pack's size.
Result<std::vector<PackedBlob>> read_pack_header(ByteView pack, codec::Box& box);

}  // namespace cairn::repository
