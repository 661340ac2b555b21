// A compact encoding of numbers and texts for Cairn's own temporary files: numbers as little-endian
// groups of seven bits (LEB128), texts with their length before them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace cairn::repository {

class ByteWriter {
 public:
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) {
      content_.push_back(static_cast<std::byte>((value & 0x7fU) | 0x80U));
    }
    content_.push_back(static_cast<std::byte>(value));
  }
  void bytes(ByteView bytes) { content_.insert(content_.end(), bytes.begin(), bytes.end()); }
  void text(std::string_view text) {
    number(text.size());
    bytes(as_bytes(text));
  }
  [[nodiscard]] const Bytes& content() const { return content_; }

 private:
  Bytes content_;
};

// Reads what ByteWriter wrote. After the first fault everything reads as zero and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(ByteView content) : rest_(content) {}

  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return fail();
      const auto byte = std::to_integer<std::uint64_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      value |= (byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    return fail();
  }
  std::uint64_t at_most(std::uint64_t max) {
    const std::uint64_t value = number();
    return value <= max ? value : fail();
  }
  // How many things follow, each of at least min_bytes: never more than there is room for.
  std::uint64_t count(std::size_t min_bytes) {
    const std::uint64_t value = number();
    return value <= rest_.size() / min_bytes ? value : fail();
  }
  void bytes(std::span<std::byte> out) {
    if (rest_.size() < out.size()) {
      fail();
      return;
    }
    std::memcpy(out.data(), rest_.data(), out.size());
    rest_ = rest_.subspan(out.size());
  }
  std::string text() {
    const std::uint64_t size = count(1);
    std::string out(as_text(rest_.first(size)));
    rest_ = rest_.subspan(size);
    return out;
  }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::uint64_t fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }
  ByteView rest_;
  bool ok_ = true;
};

}  // namespace cairn::repository
