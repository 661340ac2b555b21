// Times: wall clock as nanoseconds since 1970 UTC, RFC 3339 text, and a monotonic stopwatch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn {

struct Timespec {
  std::int64_t seconds = 0;       // since 1970-01-01 UTC; may be negative
  std::uint32_t nanoseconds = 0;  // 0 to 999,999,999, always forward from seconds
  auto operator<=>(const Timespec&) const = default;
};

Timespec wall_now();
std::int64_t wall_ms();

// RFC 3339 in UTC with "Z", up to nine fractional digits, trailing zeros trimmed, as restic writes
// them; years are clamped to 0..9999.
std::string to_rfc3339(Timespec time);
// Milliseconds: "2026-01-02T03:04:05.678Z", as the API shows them.
std::string to_iso_ms(std::int64_t wall_milliseconds);
// Any RFC 3339 offset; kInvalid otherwise.
Result<Timespec> parse_rfc3339(std::string_view text);

// Milliseconds on a clock that never steps.
std::int64_t monotonic_ms();
std::int64_t monotonic_us();

// Nanoseconds that the wall clock is ahead of the monotonic one: the same for ever, unless somebody
// steps the wall clock (both follow the same rate corrections, clock_gettime(2)).
std::int64_t wall_offset_ns();

class Stopwatch {
 public:
  Stopwatch() : start_us_(monotonic_us()) {}
  [[nodiscard]] std::int64_t elapsed_us() const { return monotonic_us() - start_us_; }
  [[nodiscard]] std::int64_t elapsed_ms() const { return elapsed_us() / 1000; }

 private:
  std::int64_t start_us_;
};

}  // namespace cairn
