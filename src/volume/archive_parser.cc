// archive -> [child: unpack -> tar reader -> frames] -> frames -> checked entries and data -> sink
#include "volume/archive_parser.h"

#include <unistd.h>

#include <array>

#include "base/clock.h"
#include "base/strings.h"
#include "codec/unpacker.h"
#include "os/file.h"
#include "os/process.h"
#include "os/sandbox.h"
#include "os/socket.h"
#include "volume/archive_wire.h"

namespace cairn::volume {

namespace {

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::int64_t kParseTimeMs = 4LL * 60 * 60 * 1000;
constexpr std::uint64_t kParserMemoryBytesMax = std::uint64_t{1} << 30U;
constexpr std::uint64_t kParserCpuSecondsMax = 2 * 60 * 60;

// The child's sink. What is said waits in a buffer, so that a million small entries are not as many
// calls.
class FrameWriter final : public codec::TarSink {
 public:
  explicit FrameWriter(const os::Fd& out) : out_(out) {}

  Status entry(const codec::TarEntry& entry) override {
    const std::string payload = encode_entry(entry);
    return frame(WireType::kEntry, {}, as_bytes(payload));
  }
  Status data(std::uint64_t offset, ByteView bytes) override {
    std::array<std::byte, 8> at{};
    store_le64(at.data(), offset);
    return frame(WireType::kData, at, bytes);
  }
  Status say(WireType type, std::string_view text) {
    TRY(frame(type, {}, as_bytes(text.substr(0, kWireErrorBytesMax))));
    return flush();
  }

 private:
  Status frame(WireType type, ByteView first, ByteView second) {
    buffer_ += encode_head(type, first.size() + second.size());
    buffer_ += as_text(first);
    buffer_ += as_text(second);
    return buffer_.size() < kPieceBytes ? Status() : flush();
  }
  Status flush() {
    const Status written = os::write_all(out_, as_bytes(buffer_));
    buffer_.clear();
    return written;
  }

  const os::Fd& out_;
  std::string buffer_;
};

Status read_whole(const os::Fd& archive, FrameWriter& frames) {
  codec::TarReader tar(frames);
  codec::Unpacker unpacker([&tar](ByteView bytes) { return tar.feed(bytes); });
  Bytes buffer(kPieceBytes);
  std::uint64_t offset = 0;
  while (true) {
    TRY_ASSIGN(const std::size_t size, os::read_at(archive, buffer, offset));
    if (size == 0) break;
    TRY(unpacker.feed(ByteView(buffer).first(size)));
    offset += size;
  }
  TRY(unpacker.finish());
  return tar.finish();
}

// The daemon's side: frames off the connection, in order.
class FrameReader {
 public:
  FrameReader(const os::Fd& connection, os::Patience patience)
      : connection_(connection), patience_(std::move(patience)), buffer_(kPieceBytes) {}

  // Until the end or the first failure.
  Status run(codec::TarSink& sink) {
    while (true) {
      TRY(fill(kWireHeadBytes));
      TRY_ASSIGN(const WireHead head, decode_head(view().substr(0, kWireHeadBytes)));
      TRY(fill(kWireHeadBytes + head.payload_bytes));
      const std::string_view payload = view().substr(kWireHeadBytes, head.payload_bytes);
      if (head.type == WireType::kEnd) return {};
      if (head.type == WireType::kError) {
        return Error(Code::kInvalid, "the archive is refused: " + printable(payload, 600));
      }
      TRY(take(head.type, payload, sink));
      begin_ += kWireHeadBytes + head.payload_bytes;
    }
  }

 private:
  [[nodiscard]] std::string_view view() const { return std::string_view(bytes_).substr(begin_); }

  Status take(WireType type, std::string_view payload, codec::TarSink& sink) {
    const Error corrupt(Code::kCorrupt, "the parser of archives broke its protocol");
    if (type == WireType::kEntry) {
      TRY_ASSIGN(const codec::TarEntry entry, decode_entry(payload));
      size_ = entry.size_bytes;
      at_ = 0;
      return sink.entry(entry);
    }
    if (payload.size() <= 8) return corrupt;
    const std::uint64_t offset = load_le64(as_bytes(payload).data());
    payload.remove_prefix(8);
    if (offset < at_ || offset > size_ || payload.size() > size_ - offset) return corrupt;
    at_ = offset + payload.size();
    return sink.data(offset, as_bytes(payload));
  }

  // At least so many bytes from begin_ on.
  Status fill(std::size_t size) {
    if (bytes_.size() - begin_ >= size) return {};
    bytes_.erase(0, begin_);
    begin_ = 0;
    while (bytes_.size() < size) {
      TRY_ASSIGN(const std::size_t count, os::receive_some(connection_, buffer_, patience_));
      if (count == 0) return Error(Code::kCorrupt, "the parser of archives died");
      bytes_ += as_text(ByteView(buffer_).first(count));
    }
    return {};
  }

  const os::Fd& connection_;
  const os::Patience patience_;
  Bytes buffer_;
  std::string bytes_;
  std::size_t begin_ = 0;   // of what is not taken yet
  std::uint64_t size_ = 0;  // of the file whose data may come
  std::uint64_t at_ = 0;
};

}  // namespace

int run_archive_parser() {
  const Status caged =
      os::enter_cage({.memory_bytes = kParserMemoryBytesMax, .cpu_seconds = kParserCpuSecondsMax});
  if (!caged.ok()) return 1;
  // Both stay open to the end: closing is not among the calls that the cage lets through.
  os::Fd in(STDIN_FILENO);
  os::Fd out(STDOUT_FILENO);
  FrameWriter frames(out);
  const Status read = read_whole(in, frames);
  const Status said = read.ok() ? frames.say(WireType::kEnd, "")
                                : frames.say(WireType::kError, read.error().message());
  (void)in.release();
  (void)out.release();
  // Not the usual end: what runs there may make calls that the cage kills for.
  ::_exit(said.ok() ? 0 : 1);
}

Status parse_archive(const os::Fd& archive, codec::TarSink& sink, const std::stop_token& stop) {
  TRY_ASSIGN(os::Patience patience, os::Patience::until(monotonic_ms() + kParseTimeMs, stop));
  TRY_ASSIGN(os::Child child,
             os::Child::spawn_filter({os::kOwnProgram, "archive-parser"}, archive));
  Status parsed = FrameReader(child.connection(), std::move(patience)).run(sink);
  child.end();
  const auto ended = child.wait();
  if (parsed.ok() && !ended.ok()) return ended.error();
  return parsed;
}

}  // namespace cairn::volume
