#include "repository/entry.h"

#include "base/strings.h"

namespace cairn::repository {

NodeType node_type(os::FileType type) {
  switch (type) {
    case os::FileType::kRegular:
      return NodeType::kFile;
    case os::FileType::kDirectory:
      return NodeType::kDir;
    case os::FileType::kSymlink:
      return NodeType::kSymlink;
    case os::FileType::kFifo:
      return NodeType::kFifo;
    case os::FileType::kSocket:
      return NodeType::kSocket;
    case os::FileType::kBlockDevice:
      return NodeType::kDevice;
    case os::FileType::kCharDevice:
      return NodeType::kCharDevice;
  }
  return NodeType::kIrregular;
}

void set_metadata(Node& node, const os::Stat& stat, std::uint64_t device_id) {
  node.type = node_type(stat.type);
  node.mode = stat.type == os::FileType::kSymlink ? 0777 : stat.mode;
  node.mtime = stat.mtime;
  // Reading changes atimes, and trees that change store anew: mtime stands in, as restic does.
  node.atime = stat.mtime;
  node.ctime = stat.ctime;
  node.uid = stat.uid;
  node.gid = stat.gid;
  node.inode = stat.inode;
  node.device_id = device_id;
  if (stat.type != os::FileType::kDirectory) node.links = stat.links;
  if (stat.type == os::FileType::kBlockDevice || stat.type == os::FileType::kCharDevice) {
    node.device = stat.special_device;
  }
}

bool is_second_view(std::string_view xattr) {
  return xattr == "trusted.SGI_ACL_FILE" || xattr == "trusted.SGI_ACL_DEFAULT";
}

Result<std::vector<os::Xattr>> read_xattrs(const os::Fd& fd, std::size_t& lost) {
  TRY_ASSIGN(std::vector<os::Xattr> xattrs, os::list_xattrs(fd));
  std::erase_if(xattrs, [](const os::Xattr& x) { return is_second_view(x.name); });
  lost += std::erase_if(xattrs, [](const os::Xattr& x) { return !is_utf8(x.name); });
  return xattrs;
}

}  // namespace cairn::repository
