#include "docker/demux.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::docker {

namespace {

// 0 and 1 are standard output.
constexpr std::uint8_t kStderr = 2;
constexpr std::uint8_t kSystemError = 3;
constexpr std::size_t kErrorBytesMax = 1000;

}  // namespace

Status Demux::take_header() {
  auto byte = [this](std::size_t at) { return static_cast<std::uint8_t>(header_[at]); };
  kind_ = byte(0);
  if (kind_ > kSystemError || byte(1) != 0 || byte(2) != 0 || byte(3) != 0) {
    return Error(Code::kCorrupt, "the engine's stream has an unknown frame");
  }
  left_ = static_cast<std::uint32_t>(byte(4)) << 24U | static_cast<std::uint32_t>(byte(5)) << 16U |
          static_cast<std::uint32_t>(byte(6)) << 8U | byte(7);
  header_.clear();
  return {};
}

Status Demux::feed(std::string_view bytes, const LogSink& sink) {
  while (!bytes.empty() && !stopped_) {
    if (left_ == 0) {
      std::size_t size = std::min(kHeaderBytes - header_.size(), bytes.size());
      header_ += bytes.substr(0, size);
      bytes.remove_prefix(size);
      if (header_.size() == kHeaderBytes) TRY(take_header());
      continue;
    }
    std::string_view piece = bytes.substr(0, left_);
    bytes.remove_prefix(piece.size());
    left_ -= static_cast<std::uint32_t>(piece.size());
    if (kind_ == kSystemError) {
      error_ += piece.substr(0, kErrorBytesMax - std::min(kErrorBytesMax, error_.size()));
      if (left_ == 0) return Error(Code::kInternal, "engine: " + printable(error_, kErrorBytesMax));
    } else {
      stopped_ = !sink(kind_ == kStderr ? Stream::kErr : Stream::kOut, piece);
    }
  }
  return {};
}

Status Demux::end() const {
  if (!stopped_ && (left_ != 0 || !header_.empty())) {
    return Error(Code::kUnavailable, "the engine's stream ended inside a frame");
  }
  return {};
}

}  // namespace cairn::docker
