// JsonReader: reads JSON (RFC 8259) front to back without building a tree. The first fault is kept:
// after it every call does nothing, next_key() and next_element() end their loops, and finish()
// reports it. Untrusted bytes are fine. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::repository {

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  // for (reader.begin_object(); reader.next_key(key);) { read or skip the value }
  void begin_object();
  bool next_key(std::string& key);
  // for (reader.begin_array(); reader.next_element();) { read or skip the value }
  void begin_array();
  bool next_element();

  // Decodes escapes to UTF-8; a lone surrogate becomes U+FFFD, as Go's decoder does.
  void string(std::string& out);
  std::string string();
  // A whole number within the type; anything else is a fault.
  std::uint64_t number();
  std::int64_t signed_number();
  bool boolean();
  // True where the next value was null, which is then behind us.
  bool take_null();
  // Any value, nested at most kDepthMax deep.
  void skip();

  // A fault that the caller found in a value.
  void fail(std::string_view why);
  [[nodiscard]] bool failed() const { return failed_; }
  // kCorrupt with the first fault or where something follows the value.
  Status finish();

 private:
  static constexpr std::size_t kDepthMax = 64;

  void skip_space();
  [[nodiscard]] char peek();
  void expect(char c);
  bool next_item(char closing);
  void literal(std::string_view word);
  void escape(std::string& out);
  std::uint32_t hex4();
  std::string_view number_token();

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<bool> first_;  // one per open object or array: no item read yet
  bool failed_ = false;
  std::string why_;
};

// Appends text as a JSON string the way Go's encoder does: <, > and & escaped, broken UTF-8 as
// U+FFFD.
void append_json_string(std::string& out, std::string_view text);
// Appends one Unicode scalar value as UTF-8.
void append_utf8(std::string& out, std::uint32_t rune);
// The length of the well-formed UTF-8 sequence that text begins with, 0 where there is none.
std::size_t utf8_length(std::string_view text);

}  // namespace cairn::repository
