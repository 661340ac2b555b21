// Packs: headers as they come out of their box, whole packs around them, and what the box and the
// decompressor do with any bytes at all.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "codec/compressor.h"
#include "codec/crypto.h"
#include "repository/pack.h"

namespace {

using cairn::Bytes;
using cairn::ByteView;

constexpr std::size_t kPlainBytesMax = 1 << 16;

// The pack whose header is these bytes, correctly sealed, after a body of body_bytes.
Bytes pack_around(ByteView header, std::size_t body_bytes, cairn::codec::Box& box) {
  Bytes pack(body_bytes);
  box.seal(header, pack);
  const auto sealed = static_cast<std::uint32_t>(pack.size() - body_bytes);
  pack.resize(pack.size() + 4);
  cairn::store_le32(pack.data() + pack.size() - 4, sealed);
  return pack;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static cairn::codec::Box box{cairn::codec::BoxKey{}};
  static cairn::codec::Compressor compressor;
  const ByteView bytes = std::as_bytes(std::span(data, size));

  const auto blobs = cairn::repository::parse_pack_header(bytes);
  if (blobs.ok()) {
    const std::uint64_t total = cairn::repository::pack_size(*blobs);
    const std::uint64_t body = total - size - cairn::codec::kBoxOverheadBytes - 4;
    if (body < (1U << 20U)) {
      CHECK(cairn::repository::read_pack_header(pack_around(bytes, body, box), box).ok());
      CHECK(!cairn::repository::read_pack_header(pack_around(bytes, body + 1, box), box).ok());
    }
  }
  (void)cairn::repository::read_pack_header(bytes, box).ok();
  Bytes out;
  (void)box.open(bytes, out).ok();
  (void)compressor.decompress(bytes, kPlainBytesMax, out).ok();
  if (compressor.decompress_bounded(bytes, kPlainBytesMax, out).ok()) {
    CHECK(out.size() <= kPlainBytesMax);
  }
  return 0;
}
