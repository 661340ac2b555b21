#include "base/clock.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace cairn {

namespace {

constexpr std::int64_t kFirstSecond = -62167219200;  // 0000-01-01T00:00:00Z
constexpr std::int64_t kLastSecond = 253402300799;   // 9999-12-31T23:59:59Z

struct Digits {
  std::string_view text;
  std::size_t at = 0;
  bool good = true;

  int number(std::size_t count) {
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (at >= text.size() || text[at] < '0' || text[at] > '9') {
        good = false;
        return 0;
      }
      value = value * 10 + (text[at++] - '0');
    }
    return value;
  }
  void expect(char c) {
    if (at >= text.size() || text[at] != c) {
      good = false;
      return;
    }
    ++at;
  }
  [[nodiscard]] char peek() const { return at < text.size() ? text[at] : '\0'; }
};

std::int64_t days_from_civil(int year, int month, int day) {
  using std::chrono::sys_days;
  return sys_days{std::chrono::year{year} / std::chrono::month{static_cast<unsigned>(month)} /
                  std::chrono::day{static_cast<unsigned>(day)}}
      .time_since_epoch()
      .count();
}

std::string civil(std::int64_t seconds) {
  using namespace std::chrono;
  const auto clamped = sys_seconds{std::chrono::seconds{seconds}};
  const auto day = floor<days>(clamped);
  const year_month_day date{day};
  const hh_mm_ss time{clamped - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count());
}

}  // namespace

Timespec wall_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec)};
}

std::int64_t wall_ms() {
  const Timespec now = wall_now();
  return now.seconds * 1000 + now.nanoseconds / 1000000;
}

std::string to_rfc3339(Timespec time) {
  std::string out = civil(std::clamp(time.seconds, kFirstSecond, kLastSecond));
  if (time.nanoseconds != 0) {
    std::string fraction = fmt::format(".{:09}", time.nanoseconds);
    fraction.erase(fraction.find_last_not_of('0') + 1);
    out += fraction;
  }
  return out + "Z";
}

std::string to_iso_ms(std::int64_t wall_milliseconds) {
  const std::int64_t seconds = (wall_milliseconds - (wall_milliseconds < 0 ? 999 : 0)) / 1000;
  return fmt::format("{}.{:03}Z", civil(std::clamp(seconds, kFirstSecond, kLastSecond)),
                     wall_milliseconds - seconds * 1000);
}

Result<Timespec> parse_rfc3339(std::string_view text) {
  Digits in{text};
  const int year = in.number(4);
  in.expect('-');
  const int month = in.number(2);
  in.expect('-');
  const int day = in.number(2);
  in.expect('T');
  const int hour = in.number(2);
  in.expect(':');
  const int minute = in.number(2);
  in.expect(':');
  const int second = in.number(2);
  std::uint32_t nanoseconds = 0;
  if (in.peek() == '.') {
    ++in.at;
    std::uint32_t scale = 100000000;
    const std::size_t first = in.at;
    while (in.peek() >= '0' && in.peek() <= '9') {
      nanoseconds += static_cast<std::uint32_t>(in.number(1)) * scale;
      scale /= 10;
    }
    if (in.at == first || in.at - first > 9) in.good = false;
  }
  int offset_minutes = 0;
  if (in.peek() == 'Z') {
    ++in.at;
  } else {
    const int sign = in.peek() == '-' ? -1 : 1;
    if (in.peek() != '+' && in.peek() != '-') in.good = false;
    ++in.at;
    const int hours = in.number(2);
    in.expect(':');
    const int minutes = in.number(2);
    if (hours > 23 || minutes > 59) in.good = false;
    offset_minutes = sign * (hours * 60 + minutes);
  }
  const bool in_range = month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour <= 23 &&
                        minute <= 59 && second <= 60;
  if (!in.good || in.at != text.size() || !in_range) {
    return Error(Code::kInvalid, "not an RFC 3339 time");
  }
  const std::int64_t seconds = days_from_civil(year, month, day) * 86400 + hour * 3600 +
                               minute * 60 + second - offset_minutes * 60;
  return Timespec{seconds, nanoseconds};
}

std::int64_t wall_offset_ns() {
  constexpr std::int64_t kNsPerS = 1'000'000'000;
  const auto now_ns = [](clockid_t clock) {
    timespec now{};
    CHECK(::clock_gettime(clock, &now) == 0);
    return now.tv_sec * kNsPerS + now.tv_nsec;
  };
  // Being put off the processor between the two readings looks like a step: the nearest pair
  // counts.
  std::int64_t best = 0;
  std::int64_t best_gap = -1;
  for (int i = 0; i < 5; ++i) {
    const std::int64_t before = now_ns(CLOCK_MONOTONIC);
    const std::int64_t wall = now_ns(CLOCK_REALTIME);
    const std::int64_t gap = now_ns(CLOCK_MONOTONIC) - before;
    if (best_gap >= 0 && gap >= best_gap) continue;
    best = wall - before;
    best_gap = gap;
  }
  return best;
}

std::int64_t monotonic_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
}

std::int64_t monotonic_ms() {
  return monotonic_us() / 1000;
}

}  // namespace cairn
