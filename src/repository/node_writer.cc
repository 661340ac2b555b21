#include "repository/node_writer.h"

#include <algorithm>

#include "codec/chunker.h"
#include "repository/entry.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::string_view kSelinux = "security.selinux";

// The end of the run of zero blocks that begins at begin, which is block-aligned.
std::size_t zero_run_end(ByteView content, std::size_t begin) {
  std::size_t end = begin;
  while (end < content.size()) {
    const std::size_t length = std::min(kBlockBytes, content.size() - end);
    if (!codec::is_zero(content.subspan(end, length))) break;
    end += length;
  }
  return end;
}

os::FileType file_type(NodeType type) {
  switch (type) {
    case NodeType::kFifo:
      return os::FileType::kFifo;
    case NodeType::kDevice:
      return os::FileType::kBlockDevice;
    case NodeType::kCharDevice:
      return os::FileType::kCharDevice;
    case NodeType::kFile:
    case NodeType::kDir:
    case NodeType::kSymlink:
    case NodeType::kSocket:
    case NodeType::kIrregular:
      break;
  }
  return os::FileType::kRegular;
}

}  // namespace

Status write_metadata(const os::Fd& fd, const Node& node) {
  TRY(os::change_owner(fd, node.uid, node.gid));
  for (const os::Xattr& xattr : node.xattrs) {
    if (!is_second_view(xattr.name)) TRY(os::set_xattr(fd, xattr));
  }
  if (node.type != NodeType::kSymlink) TRY(os::change_mode(fd, node.mode));
  return os::change_times(fd, node.atime, node.mtime);
}

Status make_special(const os::Dir& dir, const Node& node) {
  if (node.type == NodeType::kSymlink) {
    TRY(dir.make_symlink(node.link_target, node.name));
  } else {
    TRY(dir.make_node(node.name, file_type(node.type), 0600, node.device));
  }
  TRY_ASSIGN(const os::Fd fd, dir.open_path(node.name));
  return write_metadata(fd, node);
}

Result<std::uint64_t> write_with_holes(const os::Fd& fd, ByteView content, std::uint64_t offset) {
  // Blocks are aligned in the file, not in the blob.
  std::size_t at = (kBlockBytes - offset % kBlockBytes) % kBlockBytes;
  std::size_t written = 0;
  std::uint64_t end = offset;
  const auto write = [&](ByteView part) -> Status {
    if (part.empty()) return {};
    end = offset + written + part.size();
    return os::write_all_at(fd, part, offset + written);
  };
  while (at < content.size()) {
    const std::size_t zero_end = zero_run_end(content, at);
    if (zero_end - at >= kHoleBytesMin) {
      TRY(write(content.subspan(written, at - written)));
      written = zero_end;
    }
    at = std::max(zero_end, at + kBlockBytes);
  }
  TRY(write(content.subspan(written)));
  return end;
}

Result<std::optional<os::Xattr>> label_of(const os::Dir& dir) {
  TRY_ASSIGN(const std::vector<os::Xattr> xattrs, os::list_xattrs(dir.fd()));
  for (const os::Xattr& xattr : xattrs) {
    if (xattr.name == kSelinux) return std::optional(xattr);
  }
  return std::optional<os::Xattr>();
}

void set_label(Node& node, const std::optional<os::Xattr>& label) {
  std::erase_if(node.xattrs, [](const os::Xattr& xattr) { return xattr.name == kSelinux; });
  if (label) node.xattrs.push_back(*label);
}

Status clear_inherited(const os::Dir& dir) {
  TRY_ASSIGN(const std::vector<os::Xattr> inherited, os::list_xattrs(dir.fd()));
  for (const os::Xattr& xattr : inherited) {
    if (xattr.name != kSelinux) TRY(os::remove_xattr(dir.fd(), xattr.name));
  }
  return os::change_mode(dir.fd(), 0700);
}

}  // namespace cairn::repository
