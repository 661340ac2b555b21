// Unpacker: an archive's bytes out of what came: plain, one gzip member (RFC 1952) or one zstd
// frame (RFC 8878), told apart by its first bytes. Bounded in memory and in how much may come out
// of how little. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/gzip.h"

namespace cairn::codec {

// More than kUnpackRatioMax times what went in may not come out, once kUnpackFreeBytes have.
inline constexpr std::uint64_t kUnpackRatioMax = 250;
inline constexpr std::uint64_t kUnpackFreeBytes = std::uint64_t{256} << 20U;

class Unpacker {
 public:
  explicit Unpacker(ByteSink out);
  ~Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  // kInvalid for broken input, too much of it, and anything behind the member or frame: others read
  // only the first of several, or all. Else the sink's failure. Nothing may be fed after one.
  Status feed(ByteView bytes);
  // The input ends here; kInvalid where it is cut short.
  Status finish();

 private:
  struct State;
  Status choose();
  Status unpack(ByteView bytes);
  Status unpack_gzip(ByteView bytes);
  Status unpack_zstd(ByteView bytes);
  Status pass(ByteView bytes);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::codec
