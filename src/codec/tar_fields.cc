#include "codec/tar_fields.h"

#include "base/strings.h"

namespace cairn::codec {

namespace {

constexpr std::size_t kNumberDigitsMax = 20;
constexpr std::size_t kFractionDigits = 9;
constexpr std::int64_t kSecondsMax = std::int64_t{1} << 56U;  // no clock is meant beyond

Error malformed(std::string_view what) {
  return Error(Code::kInvalid, "malformed " + std::string(what));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Big-endian two's complement whose first byte says the sign: 0x80 or 0xff.
Result<std::int64_t> parse_base256(std::string_view field) {
  const auto first = static_cast<unsigned char>(field[0]);
  const bool negative = first == 0xff;
  if (!negative && first != 0x80) return malformed("number");
  std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
  for (std::size_t i = 1; i < field.size(); ++i) {
    const auto byte = static_cast<unsigned char>(field[i]);
    const std::uint64_t top = value >> 55U;  // shifted out, with the sign that stays
    if (top != (negative ? 0x1ffU : 0U)) return malformed("number");
    value = value << 8U | byte;
  }
  const auto number = static_cast<std::int64_t>(value);
  if ((number < 0) != negative) return malformed("number");
  return number;
}

}  // namespace

std::string_view text_of(std::string_view field) {
  return field.substr(0, field.find('\0'));
}

Result<std::int64_t> parse_tar_number(std::string_view field) {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    return parse_base256(field);
  }
  std::size_t at = 0;
  while (at < field.size() && field[at] == ' ') ++at;
  std::uint64_t value = 0;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at) {
    value = value * 8 + static_cast<unsigned>(field[at] - '0');
  }
  if (field.substr(at).find_first_not_of(std::string_view("\0 ", 2)) != std::string_view::npos) {
    return malformed("number");
  }
  return static_cast<std::int64_t>(value);  // at most twelve digits
}

Result<std::uint64_t> parse_tar_size(std::string_view field) {
  TRY_ASSIGN(const std::int64_t value, parse_tar_number(field));
  if (value < 0) return Error(Code::kInvalid, "a number below zero");
  return static_cast<std::uint64_t>(value);
}

bool has_tar_checksum(std::string_view block) {
  const auto said = parse_tar_size(field_of(block, kTarChecksum));
  if (!said.ok()) return false;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kTarChecksum.at && i < kTarChecksum.at + kTarChecksum.bytes;
    sum += own ? static_cast<unsigned>(' ') : static_cast<unsigned char>(block[i]);
  }
  return sum == *said;
}

Result<std::pair<std::string, std::string>> take_pax_record(std::string_view& text) {
  const std::size_t space = text.find(' ');
  if (space > kNumberDigitsMax || text[0] == '0') {  // npos is more, too
    return malformed("pax record");
  }
  const auto length = parse_uint(text.substr(0, space));
  if (!length || *length > text.size() || *length < space + 3) return malformed("pax record");
  std::string_view record = text.substr(0, *length);
  text.remove_prefix(*length);
  if (record.back() != '\n') return malformed("pax record");
  record = record.substr(space + 1, record.size() - space - 2);
  const std::size_t equals = record.find('=');
  if (equals == std::string_view::npos || equals == 0) return malformed("pax record");
  const std::string_view key = record.substr(0, equals);
  if (key.find('\0') != std::string_view::npos) return malformed("pax record");
  return std::pair(std::string(key), std::string(record.substr(equals + 1)));
}

Result<Timespec> parse_pax_time(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const std::size_t point = text.find('.');
  const auto seconds = parse_uint(text.substr(0, point));
  if (!seconds || *seconds > static_cast<std::uint64_t>(kSecondsMax)) return malformed("time");
  std::uint32_t nanoseconds = 0;
  if (point != std::string_view::npos) {
    const std::string_view fraction = text.substr(point + 1);
    if (fraction.empty()) return malformed("time");
    for (std::size_t i = 0; i < fraction.size() || i < kFractionDigits; ++i) {
      const char digit = i < fraction.size() ? fraction[i] : '0';
      if (!is_digit(digit)) return malformed("time");
      if (i < kFractionDigits) nanoseconds = nanoseconds * 10 + static_cast<unsigned>(digit - '0');
    }
  }
  Timespec time{.seconds = static_cast<std::int64_t>(*seconds), .nanoseconds = nanoseconds};
  if (!negative) return time;
  time.seconds = -time.seconds;
  if (nanoseconds != 0) {
    --time.seconds;
    time.nanoseconds = 1'000'000'000U - nanoseconds;
  }
  return time;
}

Result<std::string> parse_xattr_key(std::string_view key) {
  std::string name;
  for (std::size_t i = 0; i < key.size(); ++i) {
    if (key[i] != '%') {
      name += key[i];
      continue;
    }
    const std::string_view code = key.substr(i + 1, 2);
    if (code == "25") {
      name += '%';
    } else if (code == "3D") {
      name += '=';
    } else {
      return malformed("name of an extended attribute");
    }
    i += 2;
  }
  return name;
}

}  // namespace cairn::codec
