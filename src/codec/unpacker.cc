#include "codec/unpacker.h"

#include <zlib.h>
#include <zstd.h>

namespace cairn::codec {

namespace {

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::size_t kMagicBytes = 4;
constexpr int kUnpackWindowLogMax = 27;  // 128 MiB of memory for a zstd window
constexpr int kGzipOnly = 15 + 16;       // zlib's way of saying: gzip, the largest window

Error refuse(const char* why) {
  return Error(Code::kInvalid, why);
}

}  // namespace

struct Unpacker::State {
  enum class Kind { kUnknown, kPlain, kGzip, kZstd };

  explicit State(ByteSink sink) : out(std::move(sink)) {}
  ~State() {
    if (kind == Kind::kGzip) (void)inflateEnd(&gzip);
    ZSTD_freeDCtx(zstd);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  ByteSink out;
  Kind kind = Kind::kUnknown;
  bool ended = false;
  std::uint64_t in_bytes = 0;
  std::uint64_t out_bytes = 0;
  Bytes first;  // until the kind is known
  Bytes piece = Bytes(kPieceBytes);
  z_stream gzip{};
  ZSTD_DCtx* zstd = nullptr;
};

Unpacker::Unpacker(ByteSink out) : state_(std::make_unique<State>(std::move(out))) {}
Unpacker::~Unpacker() = default;

Status Unpacker::feed(ByteView bytes) {
  if (bytes.empty()) return {};
  state_->in_bytes += bytes.size();
  if (state_->kind != State::Kind::kUnknown) return unpack(bytes);
  state_->first.insert(state_->first.end(), bytes.begin(), bytes.end());
  if (state_->first.size() < kMagicBytes) return {};
  TRY(choose());
  return unpack(state_->first);
}

Status Unpacker::choose() {
  const std::string_view magic = as_text(state_->first);
  if (magic.starts_with("\x1f\x8b")) {
    if (inflateInit2(&state_->gzip, kGzipOnly) != Z_OK) {
      return Error(Code::kInternal, "gzip cannot begin");
    }
    state_->kind = State::Kind::kGzip;
  } else if (magic.starts_with("\x28\xb5\x2f\xfd")) {
    state_->zstd = ZSTD_createDCtx();
    if (state_->zstd == nullptr || ZSTD_isError(ZSTD_DCtx_setParameter(
                                       state_->zstd, ZSTD_d_windowLogMax, kUnpackWindowLogMax))) {
      return Error(Code::kInternal, "zstd cannot begin");
    }
    state_->kind = State::Kind::kZstd;
  } else {
    state_->kind = State::Kind::kPlain;
  }
  return {};
}

Status Unpacker::unpack(ByteView bytes) {
  if (state_->kind == State::Kind::kPlain) return state_->out(bytes);
  if (state_->ended) return refuse("data after the end of the compressed stream");
  return state_->kind == State::Kind::kGzip ? unpack_gzip(bytes) : unpack_zstd(bytes);
}

Status Unpacker::unpack_gzip(ByteView bytes) {
  z_stream& stream = state_->gzip;
  // The library reads through a pointer that is not const.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  while (true) {
    stream.next_out = reinterpret_cast<Bytef*>(state_->piece.data());
    stream.avail_out = static_cast<uInt>(state_->piece.size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      return refuse("the gzip stream is broken");
    }
    TRY(pass(ByteView(state_->piece).first(state_->piece.size() - stream.avail_out)));
    if (result == Z_STREAM_END) {
      state_->ended = true;
      if (stream.avail_in != 0) return refuse("data after the end of the compressed stream");
      return {};
    }
    // Output that did not fill its room means that the input is used up.
    if (stream.avail_out != 0) return {};
  }
}

Status Unpacker::unpack_zstd(ByteView bytes) {
  ZSTD_inBuffer in{.src = bytes.data(), .size = bytes.size(), .pos = 0};
  while (true) {
    ZSTD_outBuffer out{.dst = state_->piece.data(), .size = state_->piece.size(), .pos = 0};
    const std::size_t result = ZSTD_decompressStream(state_->zstd, &out, &in);
    if (ZSTD_isError(result)) return refuse("the zstd stream is broken or its window too large");
    TRY(pass(ByteView(state_->piece).first(out.pos)));
    if (result == 0) {
      state_->ended = true;
      if (in.pos != in.size) return refuse("data after the end of the compressed stream");
      return {};
    }
    if (in.pos == in.size && out.pos < out.size) return {};
  }
}

Status Unpacker::pass(ByteView bytes) {
  state_->out_bytes += bytes.size();
  if (state_->out_bytes > kUnpackFreeBytes &&
      state_->out_bytes / kUnpackRatioMax > state_->in_bytes) {
    return refuse("the stream unpacks to more than 250 times its size");
  }
  return bytes.empty() ? Status() : state_->out(bytes);
}

Status Unpacker::finish() {
  if (state_->kind == State::Kind::kUnknown) return refuse("this is no archive: it is too short");
  if (state_->kind != State::Kind::kPlain && !state_->ended) {
    return refuse("the compressed stream is cut short");
  }
  return {};
}

}  // namespace cairn::codec
