// SHA-256 (FIPS 180-4) and the id that is made of it.
#pragma once

#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::codec {

// The SHA-256 of some bytes, used as their name. A plain value; ordered by its bytes.
struct Id {
  std::array<std::byte, 32> bytes{};
  bool operator==(const Id& other) const {
    return std::memcmp(bytes.data(), other.bytes.data(), bytes.size()) == 0;
  }
  std::strong_ordering operator<=>(const Id& other) const {
    return std::memcmp(bytes.data(), other.bytes.data(), bytes.size()) <=> 0;
  }
  [[nodiscard]] bool is_zero() const { return *this == Id{}; }
  // 64 lower-case hex digits.
  [[nodiscard]] std::string hex() const { return to_hex(bytes); }
  // kInvalid unless text is exactly 64 lower-case hex digits.
  static Result<Id> parse(std::string_view text);
};

struct IdHash {
  std::size_t operator()(const Id& id) const {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};

// Thread-safe.
Id sha256(ByteView bytes);
// The ids of many, each of them as sha256() makes it: two at a time where the processor can, which
// takes little more than half the time. ids is as long as parts. Thread-safe.
void sha256_all(std::span<const ByteView> parts, std::span<Id> ids);

// The same over pieces. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(ByteView bytes);
  // Call once, or once after each restart().
  Id finish();
  void restart();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace cairn::codec
