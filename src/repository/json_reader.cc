#include "repository/json_reader.h"

#include <fmt/format.h>

#include <charconv>

#include "base/strings.h"

namespace cairn::repository {

namespace {

constexpr std::uint32_t kReplacement = 0xfffd;

}  // namespace

void append_utf8(std::string& out, std::uint32_t rune) {
  if (rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff)) rune = kReplacement;
  if (rune < 0x80) {
    out += static_cast<char>(rune);
  } else if (rune < 0x800) {
    out += static_cast<char>(0xc0U | (rune >> 6U));
    out += static_cast<char>(0x80U | (rune & 0x3fU));
  } else if (rune < 0x10000) {
    out += static_cast<char>(0xe0U | (rune >> 12U));
    out += static_cast<char>(0x80U | ((rune >> 6U) & 0x3fU));
    out += static_cast<char>(0x80U | (rune & 0x3fU));
  } else {
    out += static_cast<char>(0xf0U | (rune >> 18U));
    out += static_cast<char>(0x80U | ((rune >> 12U) & 0x3fU));
    out += static_cast<char>(0x80U | ((rune >> 6U) & 0x3fU));
    out += static_cast<char>(0x80U | (rune & 0x3fU));
  }
}

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto lead = static_cast<unsigned char>(text[0]);
  std::size_t length = 1;
  if (lead >= 0xf0) {
    length = 4;
  } else if (lead >= 0xe0) {
    length = 3;
  } else if (lead >= 0xc0) {
    length = 2;
  }
  return text.size() >= length && is_utf8(text.substr(0, length)) ? length : 0;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      const std::size_t length = utf8_length(text.substr(i));
      if (length == 0) {
        out += "\\ufffd";
        ++i;
      } else {
        out += text.substr(i, length);
        i += length;
      }
      continue;
    }
    ++i;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || c == '<' || c == '>' || c == '&') {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  out += '"';
}

void JsonReader::fail(std::string_view why) {
  if (failed_) return;
  failed_ = true;
  why_ = fmt::format("{} at byte {}", why, at_);
}

Status JsonReader::finish() {
  skip_space();
  if (!failed_ && at_ != text_.size()) fail("something follows the JSON value");
  if (failed_) return Error(Code::kCorrupt, why_);
  return {};
}

void JsonReader::skip_space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    ++at_;
  }
}

char JsonReader::peek() {
  skip_space();
  return at_ < text_.size() ? text_[at_] : '\0';
}

void JsonReader::expect(char c) {
  if (failed_) return;
  if (peek() != c || at_ >= text_.size()) return fail(fmt::format("'{}' expected", c));
  ++at_;
}

void JsonReader::begin_object() {
  expect('{');
  if (first_.size() >= kDepthMax) fail("too deeply nested");
  if (!failed_) first_.push_back(true);
}

void JsonReader::begin_array() {
  expect('[');
  if (first_.size() >= kDepthMax) fail("too deeply nested");
  if (!failed_) first_.push_back(true);
}

bool JsonReader::next_item(char closing) {
  if (failed_) return false;
  if (peek() == closing) {
    ++at_;
    first_.pop_back();
    return false;
  }
  if (!first_.back()) expect(',');
  first_.back() = false;
  return !failed_;
}

bool JsonReader::next_key(std::string& key) {
  if (!next_item('}')) return false;
  string(key);
  expect(':');
  return !failed_;
}

bool JsonReader::next_element() {
  return next_item(']');
}

std::uint32_t JsonReader::hex4() {
  std::uint32_t value = 0;
  if (text_.size() - at_ < 4) {
    fail("cut short");
    return 0;
  }
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
  if (error != std::errc() || end != text_.data() + at_ + 4) fail("bad \\u escape");
  at_ += 4;
  return value;
}

void JsonReader::escape(std::string& out) {
  if (at_ >= text_.size()) return fail("cut short");
  const char c = text_[at_++];
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
  if (const std::size_t found = kNames.find(c); found != std::string_view::npos) {
    out += kValues[found];
    return;
  }
  if (c != 'u') return fail("unknown escape");
  std::uint32_t rune = hex4();
  if (rune >= 0xd800 && rune <= 0xdbff && text_.substr(at_, 2) == "\\u") {
    const std::size_t before = at_;
    at_ += 2;
    const std::uint32_t low = hex4();
    if (low >= 0xdc00 && low <= 0xdfff) {
      rune = 0x10000 + ((rune - 0xd800) << 10U) + (low - 0xdc00);
    } else {
      at_ = before;  // a lone high surrogate; what follows is read again
      rune = kReplacement;
    }
  }
  append_utf8(out, rune);
}

void JsonReader::string(std::string& out) {
  out.clear();
  expect('"');
  while (!failed_) {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20) {
      ++at_;
    }
    out += text_.substr(start, at_ - start);
    if (at_ >= text_.size()) return fail("string is cut short");
    const char c = text_[at_++];
    if (c == '"') return;
    if (c != '\\') return fail("control character in a string");
    escape(out);
  }
}

std::string JsonReader::string() {
  std::string out;
  string(out);
  return out;
}

std::string_view JsonReader::number_token() {
  if (failed_) return {};
  skip_space();
  const std::size_t start = at_;
  while (at_ < text_.size() &&
         std::string_view("+-0123456789.eE").find(text_[at_]) != std::string_view::npos) {
    ++at_;
  }
  if (at_ == start) fail("number expected");
  return text_.substr(start, at_ - start);
}

std::uint64_t JsonReader::number() {
  const std::string_view token = number_token();
  const auto value = parse_uint(token);
  if (!failed_ && !value) fail("whole number expected");
  return value.value_or(0);
}

std::int64_t JsonReader::signed_number() {
  const std::string_view token = number_token();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (!failed_ && (error != std::errc() || end != token.data() + token.size())) {
    fail("whole number expected");
  }
  return value;
}

void JsonReader::literal(std::string_view word) {
  if (failed_) return;
  if (text_.substr(at_, word.size()) != word) return fail("unknown word");
  at_ += word.size();
}

bool JsonReader::boolean() {
  if (failed_) return false;
  const bool value = peek() == 't';
  literal(value ? "true" : "false");
  return value;
}

bool JsonReader::take_null() {
  if (failed_ || peek() != 'n') return false;
  literal("null");
  return !failed_;
}

void JsonReader::skip() {
  if (failed_) return;
  std::string text;
  switch (peek()) {
    case '{':
      for (begin_object(); next_key(text);) skip();
      return;
    case '[':
      for (begin_array(); next_element();) skip();
      return;
    case '"':
      return string(text);
    case 't':
    case 'f':
      boolean();
      return;
    case 'n':
      take_null();
      return;
    default:
      number_token();
  }
}

}  // namespace cairn::repository
