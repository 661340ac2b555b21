#include "base/ids.h"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <mutex>

#include "base/check.h"
#include "base/clock.h"

namespace cairn::ids {

namespace {

constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
constexpr std::size_t kUlidLength = 26;

struct Ulid {
  std::uint64_t time_ms = 0;
  std::array<std::uint8_t, 10> random{};
};

std::string encode(const Ulid& ulid) {
  // 128 bits as 26 characters of 5 bits; the first character holds 3.
  std::array<std::uint8_t, 16> raw{};
  for (std::size_t i = 0; i < 6; ++i) {
    raw[i] = static_cast<std::uint8_t>(ulid.time_ms >> (8U * (5 - i)));
  }
  for (std::size_t i = 0; i < 10; ++i) raw[6 + i] = ulid.random[i];
  std::string out(kUlidLength, '0');
  for (std::size_t i = 0; i < kUlidLength; ++i) {
    unsigned value = 0;
    for (std::size_t bit = 0; bit < 5; ++bit) {
      const std::size_t position = i * 5 + bit;  // of 130, the first two are zero
      unsigned set = 0;
      if (position >= 2) {
        const std::size_t at = position - 2;
        set = static_cast<unsigned>(raw[at / 8] >> (7 - at % 8)) & 1U;
      }
      value = value << 1U | set;
    }
    out[i] = kAlphabet[value];
  }
  return out;
}

Ulid next_ulid() {
  // Shared on purpose: ids of one process must increase even within a millisecond.
  static std::mutex mutex;
  static Ulid last;
  const std::lock_guard lock(mutex);
  const auto now = static_cast<std::uint64_t>(wall_ms());
  if (now > last.time_ms) {
    last.time_ms = now;
    CHECK(getrandom(last.random.data(), last.random.size(), 0) ==
          static_cast<ssize_t>(last.random.size()));
    return last;
  }
  for (std::size_t i = last.random.size(); i-- > 0;) {
    if (++last.random[i] != 0) break;
  }
  return last;
}

}  // namespace

std::string make(std::string_view prefix) {
  return std::string(prefix) + encode(next_ulid());
}

bool is(std::string_view prefix, std::string_view text) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return text.size() == kUlidLength && text[0] <= '7' &&
         text.find_first_not_of(kAlphabet) == std::string_view::npos;
}

std::string short_form(std::string_view id) {
  return std::string(id.size() <= 8 ? id : id.substr(id.size() - 8));
}

}  // namespace cairn::ids
