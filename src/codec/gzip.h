// GzipWriter: one gzip member (RFC 1952) out of a stream of bytes, fast (ISA-L). One thread at a
// time.
#pragma once

#include <functional>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::codec {

// Takes bytes in order; a failure stops who gives them.
using ByteSink = std::function<Status(ByteView)>;

class GzipWriter {
 public:
  // out is called with pieces of at most 256 KiB.
  explicit GzipWriter(ByteSink out);
  ~GzipWriter();
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  // A failure is the sink's; nothing may be written after it.
  Status write(ByteView bytes);
  // The end of the member. Call once.
  Status finish();

 private:
  struct State;
  Status run();
  std::unique_ptr<State> state_;
};

}  // namespace cairn::codec
