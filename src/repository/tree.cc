#include "repository/tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/strings.h"
#include "repository/json_reader.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

// Go's os.FileMode bits (pkg.go.dev/io/fs#FileMode).
constexpr std::uint32_t kGoDir = 1U << 31U;
constexpr std::uint32_t kGoSymlink = 1U << 27U;
constexpr std::uint32_t kGoDevice = 1U << 26U;
constexpr std::uint32_t kGoFifo = 1U << 25U;
constexpr std::uint32_t kGoSocket = 1U << 24U;
constexpr std::uint32_t kGoSetuid = 1U << 23U;
constexpr std::uint32_t kGoSetgid = 1U << 22U;
constexpr std::uint32_t kGoCharDevice = 1U << 21U;
constexpr std::uint32_t kGoSticky = 1U << 20U;
constexpr std::uint32_t kGoIrregular = 1U << 19U;

struct TypeName {
  NodeType type;
  std::string_view name;
  std::uint32_t go_mode;
};
constexpr std::array<TypeName, 8> kTypes = {{
    {NodeType::kFile, "file", 0},
    {NodeType::kDir, "dir", kGoDir},
    {NodeType::kSymlink, "symlink", kGoSymlink},
    {NodeType::kDevice, "dev", kGoDevice},
    {NodeType::kCharDevice, "chardev", kGoDevice | kGoCharDevice},
    {NodeType::kFifo, "fifo", kGoFifo},
    {NodeType::kSocket, "socket", kGoSocket},
    {NodeType::kIrregular, "irregular", kGoIrregular},
}};

const TypeName& type_name(NodeType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

std::uint32_t to_go_mode(NodeType type, std::uint32_t mode) {
  std::uint32_t out = type_name(type).go_mode | (mode & 0777U);
  if ((mode & 04000U) != 0) out |= kGoSetuid;
  if ((mode & 02000U) != 0) out |= kGoSetgid;
  if ((mode & 01000U) != 0) out |= kGoSticky;
  return out;
}

std::uint32_t from_go_mode(std::uint32_t go) {
  std::uint32_t out = go & 0777U;
  if ((go & kGoSetuid) != 0) out |= 04000U;
  if ((go & kGoSetgid) != 0) out |= 02000U;
  if ((go & kGoSticky) != 0) out |= 01000U;
  return out;
}

void append_number(std::string& out, std::string_view key, std::uint64_t value) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out += key;
  out.append(digits.data(), end);
}

void append_hex(std::string& out, const Id& id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  for (const std::byte byte : id.bytes) {
    out += kDigits[std::to_integer<std::size_t>(byte >> 4U)];
    out += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  out += '"';
}

void append_xattrs(std::string& out, const std::vector<os::Xattr>& xattrs) {
  out += ",\"extended_attributes\":[";
  for (const os::Xattr& xattr : xattrs) {
    if (out.back() != '[') out += ',';
    out += "{\"name\":";
    append_json_string(out, xattr.name);
    out += ",\"value\":\"" + to_base64(as_bytes(xattr.value)) + "\"}";
  }
  out += ']';
}

void append_node(std::string& out, const Node& node) {
  out += "{\"name\":";
  append_json_string(out, quote_name(node.name));
  out += ",\"type\":\"";
  out += type_name(node.type).name;
  out += '"';
  // Members that are zero are left out, in the places where Go's encoder does.
  const std::uint32_t mode = to_go_mode(node.type, node.mode);
  if (mode != 0) append_number(out, ",\"mode\":", mode);
  out += ",\"mtime\":\"" + to_rfc3339(node.mtime);
  out += "\",\"atime\":\"" + to_rfc3339(node.atime);
  out += "\",\"ctime\":\"" + to_rfc3339(node.ctime);
  append_number(out, "\",\"uid\":", node.uid);
  append_number(out, ",\"gid\":", node.gid);
  if (node.inode != 0) append_number(out, ",\"inode\":", node.inode);
  if (node.device_id != 0) append_number(out, ",\"device_id\":", node.device_id);
  if (node.size != 0) append_number(out, ",\"size\":", node.size);
  if (node.links != 0) append_number(out, ",\"links\":", node.links);
  if (!node.link_target.empty()) {
    out += ",\"linktarget\":";
    append_json_string(out, node.link_target);
    if (!is_utf8(node.link_target)) {
      out += ",\"linktarget_raw\":\"" + to_base64(as_bytes(node.link_target)) + "\"";
    }
  }
  if (!node.xattrs.empty()) append_xattrs(out, node.xattrs);
  if (node.device != 0) append_number(out, ",\"device\":", node.device);
  out += ",\"content\":";
  if (node.type == NodeType::kFile) {
    out += '[';
    for (const Id& id : node.content) {
      if (out.back() != '[') out += ',';
      append_hex(out, id);
    }
    out += ']';
  } else {
    out += "null";
  }
  if (node.type == NodeType::kDir) {
    out += ",\"subtree\":";
    append_hex(out, node.subtree);
  }
  out += '}';
}

}  // namespace

std::string encode_tree(std::span<const Node> nodes) {
  std::string out = "{\"nodes\":[";
  out.reserve(nodes.size() * 400);
  for (const Node& node : nodes) {
    if (out.back() != '[') out += ',';
    append_node(out, node);
  }
  out += "]}\n";
  return out;
}

std::string quote_name(std::string_view name) {
  constexpr std::string_view kControls = "\a\b\f\n\r\t\v\\\"";
  constexpr std::string_view kLetters = "abfnrtv\\\"";
  std::string out;
  out.reserve(name.size());
  for (std::size_t i = 0; i < name.size();) {
    const char c = name[i];
    const auto byte = static_cast<unsigned char>(c);
    if (const std::size_t found = kControls.find(c); found != std::string_view::npos) {
      out += '\\';
      out += kLetters[found];
    } else if (byte < 0x20 || byte == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else if (byte >= 0x80) {
      const std::size_t length = utf8_length(name.substr(i));
      if (length == 0) {
        fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
      } else {
        out += name.substr(i, length);
        i += length;
        continue;
      }
    } else {
      out += c;
    }
    ++i;
  }
  return out;
}

namespace {

// Digits of an escape: count of them in a base; nothing where they are missing.
std::optional<std::uint32_t> escape_digits(std::string_view text, std::size_t count, int base) {
  if (text.size() < count) return std::nullopt;
  const std::string digits(text.substr(0, count));
  const char* const past = digits.data() + digits.size();
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), past, value, base);
  if (error != std::errc() || end != past) return std::nullopt;
  return value;
}

}  // namespace

Result<std::string> unquote_name(std::string_view quoted) {
  const Error bad(Code::kCorrupt, "a name is not quoted as it must be: " + printable(quoted, 80));
  std::string out;
  out.reserve(quoted.size());
  for (std::size_t i = 0; i < quoted.size();) {
    const char c = quoted[i++];
    if (c == '"' || c == '\n') return bad;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (i == quoted.size()) return bad;
    const char kind = quoted[i++];
    constexpr std::string_view kLetters = "abfnrtv\\\"";
    constexpr std::string_view kControls = "\a\b\f\n\r\t\v\\\"";
    if (const std::size_t found = kLetters.find(kind); found != std::string_view::npos) {
      out += kControls[found];
      continue;
    }
    const bool octal = kind >= '0' && kind <= '7';
    std::size_t count = 3;
    if (octal) {
      --i;
    } else if (kind == 'x') {
      count = 2;
    } else if (kind == 'u') {
      count = 4;
    } else if (kind == 'U') {
      count = 8;
    } else {
      return bad;
    }
    const auto value = escape_digits(quoted.substr(i), count, octal ? 8 : 16);
    if (!value) return bad;
    i += count;
    if (octal || kind == 'x') {
      if (*value > 255) return bad;
      out += static_cast<char>(*value);
    } else {
      if (*value > 0x10ffff || (*value >= 0xd800 && *value <= 0xdfff)) return bad;
      append_utf8(out, *value);
    }
  }
  return out;
}

namespace {

class NodeReader {
 public:
  explicit NodeReader(JsonReader& reader) : reader_(reader) {}

  Node read() {
    Node node;
    has_content_ = has_subtree_ = has_type_ = false;
    name_.clear();
    for (reader_.begin_object(); reader_.next_key(key_);) member(node);
    check(node);
    return node;
  }

 private:
  void member(Node& node) {
    if (key_ == "name") {
      reader_.string(name_);
    } else if (key_ == "type") {
      type(node);
    } else if (key_ == "mode") {
      node.mode = from_go_mode(u32());
    } else if (key_ == "mtime") {
      node.mtime = time();
    } else if (key_ == "atime") {
      node.atime = time();
    } else if (key_ == "ctime") {
      node.ctime = time();
    } else if (key_ == "uid") {
      node.uid = u32();
    } else if (key_ == "gid") {
      node.gid = u32();
    } else if (key_ == "inode") {
      node.inode = reader_.number();
    } else if (key_ == "device_id") {
      node.device_id = reader_.number();
    } else if (key_ == "size") {
      node.size = reader_.number();
    } else if (key_ == "links") {
      node.links = reader_.number();
    } else if (key_ == "device") {
      node.device = reader_.number();
    } else {
      rare_member(node);
    }
  }

  void rare_member(Node& node) {
    if (key_ == "linktarget") {
      reader_.string(text_);
      if (!has_raw_target_) node.link_target = text_;
    } else if (key_ == "linktarget_raw") {
      if (reader_.take_null()) return;
      node.link_target = base64();
      has_raw_target_ = true;
    } else if (key_ == "extended_attributes") {
      xattrs(node);
    } else if (key_ == "content") {
      if (reader_.take_null()) return;
      has_content_ = true;
      for (reader_.begin_array(); reader_.next_element();) node.content.push_back(id());
    } else if (key_ == "subtree") {
      if (reader_.take_null()) return;
      has_subtree_ = true;
      node.subtree = id();
    } else {
      reader_.skip();
    }
  }

  void type(Node& node) {
    reader_.string(text_);
    for (const TypeName& known : kTypes) {
      if (known.name == text_) {
        node.type = known.type;
        has_type_ = true;
        return;
      }
    }
    reader_.fail("unknown type of an entry");
  }

  void xattrs(Node& node) {
    if (reader_.take_null()) return;
    for (reader_.begin_array(); reader_.next_element();) {
      os::Xattr xattr;
      for (reader_.begin_object(); reader_.next_key(key_);) {
        if (key_ == "name") {
          reader_.string(xattr.name);
        } else if (key_ == "value") {
          if (!reader_.take_null()) xattr.value = base64();
        } else {
          reader_.skip();
        }
      }
      if (xattr.name.empty() || xattr.name.find('\0') != std::string::npos) {
        reader_.fail("an extended attribute without a name");
      }
      node.xattrs.push_back(std::move(xattr));
      if (node.xattrs.size() > kXattrsMax) reader_.fail("too many extended attributes");
    }
  }

  void check(Node& node) {
    has_raw_target_ = false;
    if (reader_.failed()) return;
    if (!has_type_) return reader_.fail("an entry without a type");
    auto name = unquote_name(name_);
    if (!name.ok()) return reader_.fail(name.error().message());
    node.name = std::move(*name);
    if (const Status good = os::check_component(node.name); !good.ok()) {
      return reader_.fail(good.error().message());
    }
    if (has_subtree_ != (node.type == NodeType::kDir)) {
      return reader_.fail("a directory without entries, or entries of something else");
    }
    if (node.type == NodeType::kFile) {
      if (!has_content_ && node.size != 0) return reader_.fail("a file without content");
      if (node.size > kFileBytesMax) return reader_.fail("a file larger than any");
    } else if (!node.content.empty()) {
      return reader_.fail("content of something that is no file");
    }
    if (node.type != NodeType::kSymlink) return;
    if (node.link_target.empty() || node.link_target.size() > kLinkTargetBytesMax ||
        node.link_target.find('\0') != std::string::npos) {
      reader_.fail("a symbolic link without a target that can be");
    }
  }

  std::uint32_t u32() {
    const std::uint64_t value = reader_.number();
    if (value > UINT32_MAX) reader_.fail("number too large");
    return static_cast<std::uint32_t>(value);
  }

  Timespec time() {
    reader_.string(text_);
    const auto time = parse_rfc3339(text_);
    if (!time.ok()) reader_.fail("bad time");
    return time.value_or({});
  }

  std::string base64() {
    reader_.string(text_);
    const auto bytes = parse_base64(text_);
    if (!bytes.ok()) {
      reader_.fail("bad base64");
      return {};
    }
    return std::string(as_text(*bytes));
  }

  Id id() {
    reader_.string(text_);
    Id out;
    if (!parse_hex(text_, out.bytes).ok()) reader_.fail("an id is not 64 hex digits");
    return out;
  }

  JsonReader& reader_;
  std::string key_;
  std::string text_;
  std::string name_;
  bool has_type_ = false;
  bool has_content_ = false;
  bool has_subtree_ = false;
  bool has_raw_target_ = false;
};

}  // namespace

Result<std::vector<Node>> parse_tree(std::string_view json) {
  JsonReader reader(json);
  NodeReader node_reader(reader);
  std::vector<Node> nodes;
  std::string key;
  bool has_nodes = false;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key != "nodes") {
      reader.skip();
      continue;
    }
    if (has_nodes) reader.fail("two lists of entries");
    has_nodes = true;
    if (reader.take_null()) continue;
    for (reader.begin_array(); reader.next_element();) {
      nodes.push_back(node_reader.read());
      const std::size_t count = nodes.size();
      if (count > 1 && nodes[count - 2].name >= nodes[count - 1].name) {
        reader.fail("entries are not in order, or one stands twice");
      }
    }
  }
  if (!has_nodes) reader.fail("no list of entries");
  TRY_CONTEXT(reader.finish(), "tree");
  return nodes;
}

}  // namespace cairn::repository
