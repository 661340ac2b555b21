#include "repository/blob_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "repository/json_reader.h"
#include "repository/limits.h"

namespace cairn::repository {

std::shared_ptr<const BlobIndex> BlobIndex::merge(const BlobIndex& base,
                                                  const std::vector<IndexedPack>& packs) {
  auto merged = std::make_shared<BlobIndex>();
  merged->packs_ = base.packs_;
  std::vector<Row> fresh[2];
  for (const IndexedPack& pack : packs) {
    const auto number = static_cast<std::uint32_t>(merged->packs_.size());
    merged->packs_.push_back(pack.id);
    for (const PackedBlob& blob : pack.blobs) {
      fresh[slot(blob.type)].push_back(
          {blob.id, number, blob.offset, blob.length, blob.plain_bytes});
    }
  }
  const auto by_id = [](const Row& a, const Row& b) { return a.id < b.id; };
  for (std::size_t i = 0; i < 2; ++i) {
    std::sort(fresh[i].begin(), fresh[i].end(), by_id);
    const std::vector<Row>& old = base.rows_[i].sorted;
    Rows& rows = merged->rows_[i];
    rows.sorted.resize(old.size() + fresh[i].size());
    std::merge(old.begin(), old.end(), fresh[i].begin(), fresh[i].end(), rows.sorted.begin(),
               by_id);
    rows.make_starts();
  }
  return merged;
}

// Four to eight rows a bucket, so that all of it takes at most a byte a row.
void BlobIndex::Rows::make_starts() {
  bits = 0;
  while (sorted.size() >> (bits + 3) != 0) ++bits;
  starts.assign((std::size_t{1} << bits) + 1, static_cast<std::uint32_t>(sorted.size()));
  for (std::size_t row = sorted.size(); row-- > 0;) {
    starts[bucket_of(sorted[row].id)] = static_cast<std::uint32_t>(row);
  }
  // A bucket without rows begins where the next one does.
  for (std::size_t bucket = starts.size() - 1; bucket-- > 0;) {
    starts[bucket] = std::min(starts[bucket], starts[bucket + 1]);
  }
}

std::size_t BlobIndex::Rows::bucket_of(const Id& id) const {
  const std::uint64_t first = __builtin_bswap64(load_le64(id.bytes.data()));
  return bits == 0 ? 0 : first >> (64U - bits);
}

const BlobIndex::Row* BlobIndex::row_of(BlobType type, const Id& id) const {
  const Rows& rows = rows_[slot(type)];
  const std::size_t bucket = rows.bucket_of(id);
  const auto end = rows.sorted.begin() + rows.starts[bucket + 1];
  const auto at = std::lower_bound(rows.sorted.begin() + rows.starts[bucket], end, id,
                                   [](const Row& row, const Id& want) { return row.id < want; });
  return at != end && at->id == id ? &*at : nullptr;
}

BlobIndex::Location BlobIndex::location(BlobType type, const Row& row) const {
  return {packs_[row.pack], {row.id, type, row.offset, row.length, row.plain_bytes}};
}

std::optional<BlobIndex::Location> BlobIndex::find(BlobType type, const Id& id) const {
  const Row* row = row_of(type, id);
  if (row == nullptr) return std::nullopt;
  return location(type, *row);
}

std::vector<BlobIndex::Location> BlobIndex::find_all(BlobType type, const Id& id) const {
  std::vector<Location> out;
  const std::vector<Row>& rows = rows_[slot(type)].sorted;
  for (const Row* row = row_of(type, id); row != nullptr && row < rows.data() + rows.size();
       ++row) {
    if (row->id != id) break;
    out.push_back(location(type, *row));
  }
  return out;
}

bool BlobIndex::names_pack(const Id& id) const {
  return std::ranges::find(packs_, id) != packs_.end();
}

std::vector<IndexedPack> BlobIndex::packs() const {
  // One pack may stand in two index files: its rows are joined by its id.
  std::unordered_map<Id, std::size_t, codec::IdHash> place;
  std::vector<IndexedPack> out;
  std::vector<std::size_t> target(packs_.size());
  for (std::size_t i = 0; i < packs_.size(); ++i) {
    const auto [at, inserted] = place.try_emplace(packs_[i], out.size());
    if (inserted) out.push_back({packs_[i], {}});
    target[i] = at->second;
  }
  for (const BlobType type : {BlobType::kData, BlobType::kTree}) {
    for (const Row& row : rows_[slot(type)].sorted) {
      out[target[row.pack]].blobs.push_back(
          {row.id, type, row.offset, row.length, row.plain_bytes});
    }
  }
  for (IndexedPack& pack : out) {
    const auto by_place = [](const PackedBlob& a, const PackedBlob& b) {
      return std::tie(a.offset, a.id) < std::tie(b.offset, b.id);
    };
    std::sort(pack.blobs.begin(), pack.blobs.end(), by_place);
    pack.blobs.erase(std::unique(pack.blobs.begin(), pack.blobs.end()), pack.blobs.end());
  }
  return out;
}

std::string encode_index(std::span<const IndexedPack> packs) {
  std::string out = "{\"packs\":[";
  for (const IndexedPack& pack : packs) {
    if (out.back() == '}') out += ',';
    out += "{\"id\":\"" + pack.id.hex() + "\",\"blobs\":[";
    for (const PackedBlob& blob : pack.blobs) {
      if (out.back() == '}') out += ',';
      fmt::format_to(std::back_inserter(out), R"({{"id":"{}","type":"{}","offset":{},"length":{})",
                     blob.id.hex(), blob.type == BlobType::kTree ? "tree" : "data", blob.offset,
                     blob.length);
      if (blob.plain_bytes != 0) {
        fmt::format_to(std::back_inserter(out), ",\"uncompressed_length\":{}", blob.plain_bytes);
      }
      out += '}';
    }
    out += "]}";
  }
  out += "]}\n";
  return out;
}

namespace {

void read_id(JsonReader& reader, std::string& text, Id& id) {
  reader.string(text);
  const auto parsed = Id::parse(text);
  if (parsed.ok()) {
    id = *parsed;
  } else {
    reader.fail("an id is not 64 hex digits");
  }
}

std::uint32_t read_u32(JsonReader& reader) {
  const std::uint64_t value = reader.number();
  if (value > UINT32_MAX) reader.fail("number too large");
  return static_cast<std::uint32_t>(value);
}

PackedBlob read_blob(JsonReader& reader, std::string& key, std::string& text) {
  PackedBlob blob;
  bool has_id = false;
  bool has_type = false;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key == "id") {
      read_id(reader, text, blob.id);
      has_id = true;
    } else if (key == "type") {
      reader.string(text);
      if (text != "data" && text != "tree") reader.fail("unknown blob type");
      blob.type = text == "tree" ? BlobType::kTree : BlobType::kData;
      has_type = true;
    } else if (key == "offset") {
      blob.offset = read_u32(reader);
    } else if (key == "length") {
      blob.length = read_u32(reader);
    } else if (key == "uncompressed_length") {
      blob.plain_bytes = read_u32(reader);
    } else {
      reader.skip();
    }
  }
  if (!has_id || !has_type) reader.fail("a blob without id or type");
  if (blob.length < codec::kBoxOverheadBytes) reader.fail("a blob shorter than its box");
  if (std::uint64_t{blob.offset} + blob.length > UINT32_MAX) reader.fail("a blob beyond its pack");
  return blob;
}

IndexedPack read_pack(JsonReader& reader, std::string& key, std::string& text) {
  IndexedPack pack;
  bool has_id = false;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key == "id") {
      read_id(reader, text, pack.id);
      has_id = true;
    } else if (key == "blobs") {
      if (reader.take_null()) continue;
      for (reader.begin_array(); reader.next_element();) {
        pack.blobs.push_back(read_blob(reader, key, text));
      }
    } else {
      reader.skip();
    }
  }
  if (!has_id) reader.fail("a pack without id");
  return pack;
}

}  // namespace

Result<std::vector<IndexedPack>> parse_index(std::string_view json) {
  JsonReader reader(json);
  std::vector<IndexedPack> packs;
  std::string key;
  std::string text;
  bool has_packs = false;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key != "packs") {
      reader.skip();
      continue;
    }
    has_packs = true;
    if (reader.take_null()) continue;
    for (reader.begin_array(); reader.next_element();) {
      packs.push_back(read_pack(reader, key, text));
    }
  }
  if (!has_packs) reader.fail("no packs");
  TRY_CONTEXT(reader.finish(), "index");
  return packs;
}

}  // namespace cairn::repository
