#include "codec/compressor.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace cairn::codec {

namespace {

constexpr int kFastLevel = 1;
constexpr int kThoroughLevel = 3;
constexpr int kWindowLogMax = 27;  // 128 MiB for a stream of unknown length

// What does not compress is found by a sample: pieces of a large blob, a twentieth of its cost.
constexpr std::size_t kSampledBytesMin = 256 * 1024;
constexpr std::size_t kSamplePieceBytes = 2048;
constexpr std::size_t kSamplePieces = 6;

// A frame must save at least a thirty-second part, or reading it back is not worth the time.
bool is_worth_it(std::size_t plain, std::size_t frame) {
  return frame < plain - plain / 32 && frame + 16 < plain;
}

}  // namespace

struct Compressor::Contexts {
  ZSTD_CCtx* compress = ZSTD_createCCtx();
  ZSTD_DCtx* decompress = ZSTD_createDCtx();
  Bytes sample;
  Bytes scratch;  // never shrinks: what a vector grows by is zeroed first

  Contexts() {
    CHECK(compress != nullptr && decompress != nullptr);
    CHECK(!ZSTD_isError(ZSTD_DCtx_setParameter(decompress, ZSTD_d_windowLogMax, kWindowLogMax)));
  }
  ~Contexts() {
    ZSTD_freeCCtx(compress);
    ZSTD_freeDCtx(decompress);
  }
  Contexts(const Contexts&) = delete;
  Contexts& operator=(const Contexts&) = delete;

  ByteView frame(ByteView plain, int level) {
    const std::size_t bound = ZSTD_compressBound(plain.size());
    if (scratch.size() < bound) scratch.resize(bound);
    const std::size_t size = ZSTD_compressCCtx(compress, scratch.data(), scratch.size(),
                                               plain.data(), plain.size(), level);
    CHECK(!ZSTD_isError(size));
    return ByteView(scratch).first(size);
  }

  bool sample_shrinks(ByteView plain) {
    sample.resize(kSamplePieceBytes * kSamplePieces);
    const std::size_t step = (plain.size() - kSamplePieceBytes) / (kSamplePieces - 1);
    for (std::size_t i = 0; i < kSamplePieces; ++i) {
      std::memcpy(sample.data() + i * kSamplePieceBytes, plain.data() + i * step,
                  kSamplePieceBytes);
    }
    return is_worth_it(sample.size(), frame(sample, kFastLevel).size());
  }
};

Compressor::Compressor() : contexts_(std::make_unique<Contexts>()) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

std::optional<ByteView> Compressor::compress(ByteView plain) {
  if (plain.size() < 64) return std::nullopt;  // a frame's own bytes eat the gain
  if (plain.size() >= kSampledBytesMin && !contexts_->sample_shrinks(plain)) return std::nullopt;
  const ByteView frame = contexts_->frame(plain, kFastLevel);
  if (!is_worth_it(plain.size(), frame.size())) return std::nullopt;
  return frame;
}

void Compressor::compress_always(ByteView plain, Effort effort, Bytes& out) {
  const int level = effort == Effort::kFast ? kFastLevel : kThoroughLevel;
  const ByteView frame = contexts_->frame(plain, level);
  out.assign(frame.begin(), frame.end());
}

Status Compressor::decompress(ByteView frame, std::size_t plain_bytes, Bytes& out) {
  out.resize(plain_bytes);
  return decompress_into(frame, out);
}

Status Compressor::decompress_into(ByteView frame, std::span<std::byte> out) {
  const std::size_t size = ZSTD_decompressDCtx(contexts_->decompress, out.data(), out.size(),
                                               frame.data(), frame.size());
  if (ZSTD_isError(size) || size != out.size()) {
    return Error(Code::kCorrupt, "compressed bytes do not decompress to their length");
  }
  return {};
}

Status Compressor::decompress_bounded(ByteView frame, std::size_t max_bytes, Bytes& out) {
  CHECK(!ZSTD_isError(ZSTD_DCtx_reset(contexts_->decompress, ZSTD_reset_session_only)));
  ZSTD_inBuffer in{frame.data(), frame.size(), 0};
  out.resize(std::clamp<std::size_t>(frame.size() * 4, 4096, std::max<std::size_t>(max_bytes, 1)));
  std::size_t done = 0;
  while (true) {
    if (done == out.size()) {
      if (done >= max_bytes) return Error(Code::kCorrupt, "compressed bytes exceed their limit");
      out.resize(std::min(max_bytes, out.size() * 2));
    }
    ZSTD_outBuffer to{out.data(), out.size(), done};
    const std::size_t rest = ZSTD_decompressStream(contexts_->decompress, &to, &in);
    if (ZSTD_isError(rest)) return Error(Code::kCorrupt, "compressed bytes are broken");
    const bool progressed = to.pos != done;
    done = to.pos;
    if (rest == 0 && in.pos == in.size) break;
    if (in.pos == in.size && !progressed && done < out.size()) {
      return Error(Code::kCorrupt, "compressed bytes are cut short");
    }
  }
  out.resize(done);
  return {};
}

}  // namespace cairn::codec
