// Archives: whatever the bytes are, in pieces of any length and behind any compression, what comes
// out is one valid entry after the other with data inside its bounds, and what of it Cairn writes
// again reads back the same. The daemon's own check of what its parser sends agrees.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>

#include "base/check.h"
#include "codec/tar_fields.h"
#include "codec/tar_reader.h"
#include "codec/tar_writer.h"
#include "codec/unpacker.h"
#include "volume/archive_wire.h"

namespace {

using namespace cairn;

constexpr std::size_t kOutBytesMax = std::size_t{16} << 20U;

class Checked final : public codec::TarSink {
 public:
  Status entry(const codec::TarEntry& entry) override {
    const auto parts = codec::split_tar_path(entry.path);
    CHECK(parts.ok());
    for (const std::string& part : *parts) {
      CHECK(!part.empty() && part != "." && part != ".." && part.size() <= 255 &&
            part.find('/') == std::string::npos && part.find('\0') == std::string::npos);
    }
    const auto sent = volume::decode_entry(volume::encode_entry(entry));
    CHECK(sent.ok() && *sent == entry);
    size_ = entry.size_bytes;
    at_ = 0;
    if (!again_) return {};
    CHECK(entry == *again_);
    again_ = nullptr;
    return {};
  }
  Status data(std::uint64_t offset, ByteView bytes) override {
    CHECK(!bytes.empty() && offset >= at_ && offset <= size_ && bytes.size() <= size_ - offset);
    at_ = offset + bytes.size();
    return {};
  }
  const codec::TarEntry* again_ = nullptr;

 private:
  std::uint64_t size_ = 0;
  std::uint64_t at_ = 0;
};

// Entries without data survive being written and read once more.
class Rewriting final : public codec::TarSink {
 public:
  Status entry(const codec::TarEntry& entry) override {
    TRY(checked_.entry(entry));
    if (entry.path == "." || entry.size_bytes != 0) return {};
    const auto header = codec::encode_tar_header(entry);
    CHECK(header.ok());
    Checked again;
    again.again_ = &entry;
    codec::TarReader reader(again);
    const std::string archive = *header + codec::tar_end();
    if (reader.feed(as_bytes(archive)).ok()) CHECK(again.again_ == nullptr);
    return {};
  }
  Status data(std::uint64_t offset, ByteView bytes) override {
    return checked_.data(offset, bytes);
  }

 private:
  Checked checked_;
};

// Every block that looks like a header gets the checksum of what is in it now, so that what a
// mutation did to a header is read.
void sum_headers(std::span<std::uint8_t> blocks) {
  constexpr std::size_t kDigits = 6;
  while (blocks.size() >= codec::kTarBlockBytes) {
    const auto block = blocks.first(codec::kTarBlockBytes);
    blocks = blocks.subspan(codec::kTarBlockBytes);
    const std::string_view text = as_text(std::as_bytes(block));
    const std::string_view magic = codec::field_of(text, codec::kTarMagic);
    if (magic != codec::kUstarMagic && magic != codec::kGnuMagic) continue;
    const auto said = block.subspan(codec::kTarChecksum.at, codec::kTarChecksum.bytes);
    std::ranges::fill(said, ' ');
    unsigned sum = std::accumulate(block.begin(), block.end(), 0U);
    for (std::size_t i = kDigits; i-- > 0; sum /= 8) {
      said[i] = static_cast<std::uint8_t>('0' + sum % 8);
    }
    said[kDigits] = 0;
    CHECK(codec::has_tar_checksum(text));
  }
}

}  // namespace

// libFuzzer's own (https://llvm.org/docs/LibFuzzer.html).
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                               std::size_t size,
                                               std::size_t max_size,
                                               unsigned /*seed*/) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (size != 0) sum_headers(std::span(data, size).subspan(1));
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] * std::size_t{37};
  const ByteView bytes(reinterpret_cast<const std::byte*>(data + 1), size - 1);
  Rewriting sink;
  codec::TarReader reader(sink);
  std::size_t out = 0;
  codec::Unpacker unpacker([&reader, &out](ByteView unpacked) -> Status {
    out += unpacked.size();
    if (out > kOutBytesMax) return Error(Code::kCancelled, "enough");
    return reader.feed(unpacked);
  });
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    if (!unpacker.feed(bytes.subspan(at, std::min(piece, bytes.size() - at))).ok()) return 0;
  }
  if (unpacker.finish().ok()) (void)reader.finish().ok();
  (void)volume::decode_entry(as_text(bytes)).ok();
  return 0;
}
