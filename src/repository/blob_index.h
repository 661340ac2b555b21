// BlobIndex: which blob lies where, as sorted arrays of 49 bytes a blob. Never changed once made:
// a new one is merged from an old one and new packs, readers keep theirs. Thread-safe to read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/pack.h"

namespace cairn::repository {

class BlobIndex {
 public:
  struct Location {
    Id pack;
    PackedBlob blob;
  };

  BlobIndex() = default;
  // Duplicates of a blob in several packs are kept; find() tells one of them.
  static std::shared_ptr<const BlobIndex> merge(const BlobIndex& base,
                                                const std::vector<IndexedPack>& packs);

  [[nodiscard]] std::optional<Location> find(BlobType type, const Id& id) const;
  [[nodiscard]] bool has(BlobType type, const Id& id) const { return row_of(type, id) != nullptr; }
  // All places of one blob.
  [[nodiscard]] std::vector<Location> find_all(BlobType type, const Id& id) const;
  [[nodiscard]] std::size_t size() const { return rows_[0].sorted.size() + rows_[1].sorted.size(); }
  [[nodiscard]] bool names_pack(const Id& id) const;
  // Every pack with its blobs in order of offset; a copy, for check and prune.
  [[nodiscard]] std::vector<IndexedPack> packs() const;

 private:
  struct Row {
    Id id;
    std::uint32_t pack;  // in packs_
    std::uint32_t offset;
    std::uint32_t length;
    std::uint32_t plain_bytes;
  };
  static_assert(sizeof(Row) == 48);

  // The blobs of one type.
  struct Rows {
    std::vector<Row> sorted;  // by id
    // Where the rows begin whose ids have these first `bits` bits, and a last one for the end. Ids
    // are hashes: a search between two of them has few rows left.
    std::vector<std::uint32_t> starts = {0, 0};
    unsigned bits = 0;

    void make_starts();
    [[nodiscard]] std::size_t bucket_of(const Id& id) const;
  };

  [[nodiscard]] const Row* row_of(BlobType type, const Id& id) const;
  [[nodiscard]] Location location(BlobType type, const Row& row) const;

  std::vector<Id> packs_;
  Rows rows_[2];  // by BlobType
};

// The JSON of an index file, and back. kCorrupt for anything that is not an index or breaks a
// limit.
std::string encode_index(std::span<const IndexedPack> packs);
Result<std::vector<IndexedPack>> parse_index(std::string_view json);

}  // namespace cairn::repository
