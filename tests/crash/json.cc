#include "json.h"

#include <cstdio>

namespace cairn::crash {

void JsonLine::key(std::string_view name) {
  if (text_.size() > 1) text_ += ',';
  quoted(name);
  text_ += ':';
}

void JsonLine::quoted(std::string_view text) {
  text_ += '"';
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%s%02x", byte >= 0x80 ? "dc" : "00", byte);
      text_ += escape;
    } else {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
  }
  text_ += '"';
}

void JsonLine::field(std::string_view name, std::string_view value) {
  key(name);
  quoted(value);
}

void JsonLine::field(std::string_view name, std::int64_t value) {
  key(name);
  text_ += std::to_string(value);
}

void JsonLine::field(std::string_view name, const std::vector<std::string>& values) {
  key(name);
  text_ += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text_ += ',';
    quoted(values[i]);
  }
  text_ += ']';
}

void JsonLine::null_field(std::string_view name) {
  key(name);
  text_ += "null";
}

std::string JsonLine::finish() {
  return text_ + "}\n";
}

}  // namespace cairn::crash
