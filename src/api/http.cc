#include "api/http.h"

#include <algorithm>

#include "api/limits.h"
#include "base/strings.h"

namespace cairn::api {

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return Error(Code::kInvalid, "broken escape in the request target");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (out.find('\0') != std::string::npos || !is_utf8(out)) {
    return Error(Code::kInvalid, "the request target is not plain UTF-8 text");
  }
  return out;
}

Status parse_query(std::string_view text, std::map<std::string, std::string>& query) {
  const std::vector<std::string> parts = split(text, '&');
  if (parts.size() > kQueryPartsMax) return Error(Code::kInvalid, "too many query parameters");
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    TRY_ASSIGN(std::string name, percent_decode(std::string_view(part).substr(0, equals)));
    std::string value;
    if (equals != std::string::npos) {
      TRY_ASSIGN(value, percent_decode(std::string_view(part).substr(equals + 1)));
    }
    if (!query.emplace(name, std::move(value)).second) {
      return Error(Code::kInvalid, "query parameter " + printable(name) + " is given twice");
    }
  }
  return {};
}

}  // namespace

std::string_view method_name(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kPost:
      return "POST";
    case Method::kPut:
      return "PUT";
    case Method::kDelete:
      return "DELETE";
  }
  return "GET";
}

void Headers::add(std::string_view name, std::string_view value) {
  std::string key(name);
  std::transform(key.begin(), key.end(), key.begin(), lower);
  fields_.emplace_back(std::move(key), value);
}

std::string_view Headers::get(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (key == name) return value;
  }
  return {};
}

bool Headers::has(std::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(),
                     [name](const auto& field) { return field.first == name; });
}

Result<bool> Request::flag(const std::string& name) const {
  const auto found = query.find(name);
  if (found == query.end() || found->second == "0" || found->second == "false") return false;
  if (found->second.empty() || found->second == "1" || found->second == "true") return true;
  return Error(Code::kInvalid, "query parameter " + name + " is not a yes or no (1 or 0)");
}

Result<std::uint64_t> Request::number(const std::string& name,
                                      std::uint64_t fallback,
                                      std::uint64_t max) const {
  const auto found = query.find(name);
  if (found == query.end()) return fallback;
  const std::optional<std::uint64_t> value = parse_uint(found->second);
  if (!value.has_value() || *value > max) {
    return Error(Code::kInvalid,
                 "query parameter " + name + " is not a number up to " + std::to_string(max));
  }
  return *value;
}

Status parse_target(std::string_view target, Request& request) {
  if (target.size() > kTargetBytesMax) {
    return Error(Code::kInvalid, "the request target is too long");
  }
  if (target.empty() || target[0] != '/') {
    return Error(Code::kInvalid, "the request target is not a path");
  }
  target = target.substr(0, target.find('#'));
  const std::size_t mark = target.find('?');
  request.query.clear();
  // An escaped slash would move the borders between the parts of the pattern.
  const std::string_view raw_path = target.substr(0, mark);
  if (raw_path.find("%2f") != std::string_view::npos ||
      raw_path.find("%2F") != std::string_view::npos) {
    return Error(Code::kInvalid, "an escaped slash in the path");
  }
  TRY_ASSIGN(request.path, percent_decode(raw_path));
  if (mark != std::string_view::npos) TRY(parse_query(target.substr(mark + 1), request.query));
  return {};
}

}  // namespace cairn::api
