#include "codec/gzip.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>

namespace cairn::codec {

namespace {

constexpr std::size_t kOutBytes = 256 * 1024;
constexpr std::size_t kInBytesMax = std::size_t{1} << 30U;  // the library counts in 32 bits

}  // namespace

struct GzipWriter::State {
  isal_zstream stream{};
  Bytes level_buffer = Bytes(ISAL_DEF_LVL1_DEFAULT);
  Bytes buffer = Bytes(kOutBytes);
  ByteSink out;
};

GzipWriter::GzipWriter(ByteSink out) : state_(std::make_unique<State>()) {
  state_->out = std::move(out);
  isal_zstream& stream = state_->stream;
  isal_deflate_init(&stream);
  stream.level = 1;
  stream.level_buf = reinterpret_cast<std::uint8_t*>(state_->level_buffer.data());
  stream.level_buf_size = static_cast<std::uint32_t>(state_->level_buffer.size());
  stream.gzip_flag = IGZIP_GZIP;
  stream.flush = NO_FLUSH;
  stream.next_out = reinterpret_cast<std::uint8_t*>(state_->buffer.data());
  stream.avail_out = static_cast<std::uint32_t>(state_->buffer.size());
}

GzipWriter::~GzipWriter() = default;

// Compresses what is there; full buffers leave, and at the end of the stream the last one too.
Status GzipWriter::run() {
  isal_zstream& stream = state_->stream;
  const bool ending = stream.end_of_stream != 0;
  while (true) {
    if (isal_deflate(&stream) != COMP_OK) return Error(Code::kInternal, "gzip failed");
    const bool done = ending ? stream.internal_state.state == ZSTATE_END : stream.avail_in == 0;
    if (stream.avail_out == 0 || (done && ending)) {
      const std::size_t size = state_->buffer.size() - stream.avail_out;
      TRY(state_->out(ByteView(state_->buffer).first(size)));
      stream.next_out = reinterpret_cast<std::uint8_t*>(state_->buffer.data());
      stream.avail_out = static_cast<std::uint32_t>(state_->buffer.size());
    }
    if (done) return {};
  }
}

Status GzipWriter::write(ByteView bytes) {
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), kInBytesMax);
    // The library reads through a pointer that is not const.
    state_->stream.next_in =
        const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(bytes.data()));
    state_->stream.avail_in = static_cast<std::uint32_t>(size);
    TRY(run());
    bytes = bytes.subspan(size);
  }
  return {};
}

Status GzipWriter::finish() {
  state_->stream.avail_in = 0;
  state_->stream.end_of_stream = 1;
  return run();
}

}  // namespace cairn::codec
