// A writer for one-line JSON objects. Bytes that are not ASCII are written as the lone surrogates
// Python's "surrogateescape" uses, so os.fsencode() gives back the exact file name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::crash {

class JsonLine {
 public:
  void field(std::string_view key, std::string_view value);
  void field(std::string_view key, std::int64_t value);
  void field(std::string_view key, const std::vector<std::string>& values);
  void null_field(std::string_view key);

  // The object with a line feed.
  std::string finish();

 private:
  void key(std::string_view name);
  void quoted(std::string_view text);

  std::string text_ = "{";
};

}  // namespace cairn::crash
