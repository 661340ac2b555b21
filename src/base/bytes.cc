#include "base/bytes.h"

namespace cairn {

std::string to_hex(ByteView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (std::byte b : bytes) {
    out += kDigits[std::to_integer<unsigned>(b) >> 4U];
    out += kDigits[std::to_integer<unsigned>(b) & 15U];
  }
  return out;
}

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

}  // namespace

Status parse_hex(std::string_view text, std::span<std::byte> out) {
  if (text.size() != out.size() * 2) {
    return Error(Code::kInvalid, "hex text has the wrong length");
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return Error(Code::kInvalid, "not a lower-case hex text");
    out[i] = static_cast<std::byte>(high * 16 + low);
  }
  return {};
}

std::string to_base64(ByteView bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8U | (k < n ? std::to_integer<unsigned>(bytes[i + k]) : 0U);
    }
    out += kBase64[group >> 18U & 63U];
    out += kBase64[group >> 12U & 63U];
    out += n > 1 ? kBase64[group >> 6U & 63U] : '=';
    out += n > 2 ? kBase64[group & 63U] : '=';
  }
  return out;
}

Result<Bytes> parse_base64(std::string_view text) {
  const Error bad(Code::kInvalid, "not a base64 text");
  if (text.size() % 4 != 0) return bad;
  Bytes out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const bool last = i + 4 == text.size();
    std::size_t pads = 0;
    if (last && text[i + 3] == '=') pads = text[i + 2] == '=' ? 2 : 1;
    unsigned group = 0;
    for (std::size_t k = 0; k < 4; ++k) {
      const int digit = k >= 4 - pads ? 0 : base64_digit(text[i + k]);
      if (digit < 0) return bad;
      group = group << 6U | static_cast<unsigned>(digit);
    }
    for (std::size_t k = 0; k < 3 - pads; ++k) {
      out.push_back(static_cast<std::byte>(group >> (16U - 8U * k)));
    }
  }
  return out;
}

}  // namespace cairn
