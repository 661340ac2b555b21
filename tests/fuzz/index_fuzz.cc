// The JSON files of a repository: indexes come back as they were written, and snapshots, configs
// and plain JSON never crash.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "repository/blob_index.h"
#include "repository/config.h"
#include "repository/json_reader.h"
#include "repository/snapshot.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn::repository;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto packs = parse_index(text);
  if (packs.ok()) {
    const std::string written = encode_index(*packs);
    const auto again = parse_index(written);
    CHECK(again.ok() && again->size() == packs->size());
    for (std::size_t i = 0; i < packs->size(); ++i) CHECK((*again)[i].blobs == (*packs)[i].blobs);
    const auto index = BlobIndex::merge(BlobIndex(), *packs);
    for (const IndexedPack& pack : *packs) {
      for (const PackedBlob& blob : pack.blobs) CHECK(index->has(blob.type, blob.id));
    }
    CHECK(index->packs().size() <= packs->size());
  }
  const auto snapshot = parse_snapshot({}, text);
  if (snapshot.ok()) CHECK(parse_snapshot({}, encode_snapshot(*snapshot)).ok());
  (void)parse_config(text).ok();
  JsonReader reader(text);
  reader.skip();
  (void)reader.finish().ok();
  return 0;
}
