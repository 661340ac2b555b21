// The framing of logs, attach and exec without a terminal: a header of eight bytes (stream, three
// zeros, length as big-endian 32 bits) before each piece. Pure. One thread at a time.
// Source: Docker Engine API, ContainerAttach, "Stream format".
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "docker/engine.h"

namespace cairn::docker {

class Demux {
 public:
  // Takes all of bytes. False from the sink ends it: stopped(). kCorrupt for an unknown frame;
  // kInternal with the engine's words for its error frame.
  Status feed(std::string_view bytes, const LogSink& sink);
  // kUnavailable where the bytes ended inside a frame.
  [[nodiscard]] Status end() const;
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  static constexpr std::size_t kHeaderBytes = 8;
  Status take_header();

  std::string header_;
  std::uint32_t left_ = 0;  // of the current frame
  std::uint8_t kind_ = 0;
  bool stopped_ = false;
  std::string error_;  // the error frame so far
};

}  // namespace cairn::docker
