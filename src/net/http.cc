#include "net/http.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::net {

namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::size_t kChunkDigitsMax = 15;  // no overflow of 64 bits

Error corrupt(std::string_view what) {
  return Error(Code::kCorrupt, fmt::format("not an HTTP/1.1 reply: {}", what));
}

bool is_alpha_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 9110, 5.6.2.
bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_alpha_digit(c) ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// Visible characters, spaces, tabs and bytes above 0x7f: what a field value or a reason may hold.
bool is_field_text(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_any_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Status parse_status_line(std::string_view line, Response& response) {
  constexpr std::string_view kVersion = "HTTP/1.";
  // "HTTP/1.1 200" and, after one more space, the reason.
  constexpr std::size_t kShortest = kVersion.size() + 5;
  if (line.size() < kShortest || !line.starts_with(kVersion) ||
      (line[7] != '0' && line[7] != '1') || line[8] != ' ') {
    return corrupt("status line");
  }
  std::string_view digits = line.substr(9, 3);
  auto status = parse_uint(digits);
  if (!status || *status < 100 || *status > 599) return corrupt("status code");
  std::string_view rest = line.substr(12);
  if (!rest.empty() && rest.front() != ' ') return corrupt("status code");
  if (!is_field_text(rest)) return corrupt("reason");
  response.status = static_cast<int>(*status);
  response.reason = rest.empty() ? "" : std::string(rest.substr(1));
  return {};
}

Status parse_field(std::string_view line, Response& response) {
  auto colon = line.find(':');
  if (colon == std::string_view::npos) return corrupt("header field without a colon");
  std::string_view name = line.substr(0, colon);
  std::string_view value = trim_blanks(line.substr(colon + 1));
  // Also refuses folded lines (they begin with a blank) and a blank before the colon.
  if (!is_token(name)) return corrupt("header field's name");
  if (!is_field_text(value)) return corrupt("header field's value");
  if (response.headers.size() >= kHeaderCountMax) return corrupt("too many header fields");
  response.headers.push_back({.name = std::string(name), .value = std::string(value)});
  return {};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

const std::string* Response::find(std::string_view name) const {
  for (const Header& header : headers) {
    if (equal_any_case(header.name, name)) return &header.value;
  }
  return nullptr;
}

Result<std::string> format_request(const Request& request) {
  auto is_target_char = [](char c) { return c > 0x20 && c < 0x7f; };
  if (!is_token(request.method)) return Error(Code::kInvalid, "not an HTTP method");
  if (!request.target.starts_with('/') || !std::ranges::all_of(request.target, is_target_char)) {
    return Error(Code::kInvalid, "not a request target: " + printable(request.target));
  }

  std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\n", request.method, request.target);
  bool names_connection = false;
  for (const Header& header : request.headers) {
    if (!is_token(header.name) || !is_field_text(header.value)) {
      return Error(Code::kInvalid, "not a header field: " + printable(header.name));
    }
    names_connection = names_connection || equal_any_case(header.name, "Connection");
    text += fmt::format("{}: {}\r\n", header.name, header.value);
  }
  if (!names_connection) text += "Connection: close\r\n";
  if (request.source) {
    text += fmt::format("Content-Length: {}\r\n\r\n", request.source->size_bytes);
    return text;
  }
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    text += fmt::format("Content-Length: {}\r\n", request.body.size());
  }
  text += kLineEnd;
  text += request.body;
  return text;
}

Result<std::optional<ParsedHead>> parse_response_head(std::string_view bytes) {
  ParsedHead head;
  std::string_view left = bytes.substr(0, kHeadBytesMax);
  bool first = true;
  while (true) {
    auto end = left.find('\n');
    if (end == std::string_view::npos) {
      if (bytes.size() >= kHeadBytesMax) return corrupt("its head is too long");
      return std::optional<ParsedHead>();
    }
    if (end == 0 || left[end - 1] != '\r') return corrupt("a line ends without CR LF");
    std::string_view line = left.substr(0, end - 1);
    left.remove_prefix(end + 1);

    if (first) {
      TRY(parse_status_line(line, head.response));
      first = false;
    } else if (line.empty()) {
      head.size_bytes = static_cast<std::size_t>(left.data() - bytes.data());
      return std::optional(std::move(head));
    } else {
      TRY(parse_field(line, head.response));
    }
  }
}

Result<BodyReader> BodyReader::for_response(const Response& head, std::string_view method) {
  if (method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) {
    return BodyReader(Phase::kDone, 0);
  }
  std::optional<std::uint64_t> length;
  bool chunked = false;
  for (const Header& header : head.headers) {
    if (equal_any_case(header.name, "Transfer-Encoding")) {
      if (chunked || !equal_any_case(header.value, "chunked")) return corrupt("transfer encoding");
      chunked = true;
    } else if (equal_any_case(header.name, "Content-Length")) {
      auto value = parse_uint(header.value);
      if (!value || (length && *length != *value)) return corrupt("content length");
      length = value;
    }
  }
  // Both at once is how replies are smuggled (RFC 9112, 6.3).
  if (chunked && length) return corrupt("content length beside chunks");
  if (chunked) return BodyReader(Phase::kChunkSize, 0);
  if (length) return BodyReader(*length == 0 ? Phase::kDone : Phase::kCounted, *length);
  return BodyReader(Phase::kUntilClose, 0);
}

// Moves bytes into line_ up to a line's end; whole says whether line_ is complete (without CR LF).
Status BodyReader::take_line(std::string_view& bytes, bool& whole) {
  auto end = bytes.find('\n');
  std::string_view part = bytes.substr(0, end == std::string_view::npos ? end : end + 1);
  std::size_t most =
      phase_ == Phase::kTrailers ? kHeadBytesMax - trailer_bytes_ : kChunkLineBytesMax;
  if (line_.size() + part.size() > most) return corrupt("a line between chunks is too long");
  line_ += part;
  bytes.remove_prefix(part.size());
  whole = end != std::string_view::npos;
  if (!whole) return {};
  if (!line_.ends_with(kLineEnd)) return corrupt("a line ends without CR LF");
  if (phase_ == Phase::kTrailers) trailer_bytes_ += line_.size();
  line_.resize(line_.size() - kLineEnd.size());
  return {};
}

Status BodyReader::chunk_size() {
  std::string_view digits = trim_blanks(std::string_view(line_).substr(0, line_.find(';')));
  if (digits.empty() || digits.size() > kChunkDigitsMax) return corrupt("chunk size");
  left_ = 0;
  for (char c : digits) {
    int digit = hex_digit(c);
    if (digit < 0) return corrupt("chunk size");
    left_ = left_ * 16 + static_cast<unsigned>(digit);
  }
  phase_ = left_ == 0 ? Phase::kTrailers : Phase::kChunkData;
  return {};
}

// What a whole line means between chunks.
Status BodyReader::end_line() {
  if (phase_ == Phase::kChunkSize) {
    TRY(chunk_size());
  } else if (phase_ == Phase::kChunkEnd) {
    if (!line_.empty()) return corrupt("bytes after a chunk");
    phase_ = Phase::kChunkSize;
  } else if (line_.empty()) {
    phase_ = Phase::kDone;  // the end of the trailers, which nobody reads
  }
  line_.clear();
  return {};
}

Status BodyReader::feed(std::string_view bytes, const std::function<bool(std::string_view)>& out) {
  while (!bytes.empty() && phase_ != Phase::kDone && !stopped_) {
    switch (phase_) {
      case Phase::kCounted:
      case Phase::kChunkData: {
        auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
        stopped_ = !out(bytes.substr(0, size));
        bytes.remove_prefix(size);
        left_ -= size;
        if (left_ == 0) phase_ = phase_ == Phase::kCounted ? Phase::kDone : Phase::kChunkEnd;
        break;
      }
      case Phase::kUntilClose:
        stopped_ = !out(bytes);
        bytes = {};
        break;
      case Phase::kChunkSize:
      case Phase::kChunkEnd:
      case Phase::kTrailers: {
        bool whole = false;
        TRY(take_line(bytes, whole));
        if (whole) TRY(end_line());
        break;
      }
      case Phase::kDone:
        break;
    }
  }
  return {};
}

Status BodyReader::end() {
  if (phase_ == Phase::kUntilClose) phase_ = Phase::kDone;
  if (phase_ != Phase::kDone)
    return Error(Code::kUnavailable, "the connection ended inside a reply");
  return {};
}

std::string url_encode(std::string_view text) {
  std::string encoded;
  for (char c : text) {
    if (is_alpha_digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

}  // namespace cairn::net
