// Zstandard (RFC 8878) with a fast way past what does not compress.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::codec {

enum class Effort { kFast, kThorough };  // data; trees and indexes

// Holds compression contexts: one thread at a time, make one a thread.
class Compressor {
 public:
  Compressor();
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  // A frame, valid until the next call, or nothing where compressing is not worth it (a sample does
  // not shrink, or the frame is not smaller).
  std::optional<ByteView> compress(ByteView plain);
  // Always makes a frame, even where it grows.
  void compress_always(ByteView plain, Effort effort, Bytes& out);
  // Replaces out with exactly plain_bytes bytes; kCorrupt where the frame holds fewer or more, or
  // is broken.
  Status decompress(ByteView frame, std::size_t plain_bytes, Bytes& out);
  // Fills out; kCorrupt where the frame holds fewer or more bytes than that, or is broken.
  Status decompress_into(ByteView frame, std::span<std::byte> out);
  // For frames whose length nobody told: kCorrupt past max_bytes.
  Status decompress_bounded(ByteView frame, std::size_t max_bytes, Bytes& out);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace cairn::codec
