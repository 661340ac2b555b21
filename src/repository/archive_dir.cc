#include "repository/archive_dir.h"

#include <algorithm>
#include <utility>

namespace cairn::repository {

namespace {

// Hard links are found by inode within one volume: the number of the device is the volume's, so
// that trees do not change when the file system is mounted elsewhere.
constexpr std::uint64_t kDeviceIdBase = 1;

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

}  // namespace

OpenDir::OpenDir(std::shared_ptr<OpenDir> parent_dir,
                 std::size_t parent_slot,
                 os::Dir open_dir,
                 OpenRoot* of_root,
                 std::string own_name)
    : parent(std::move(parent_dir)),
      slot(parent_slot),
      dir(std::move(open_dir)),
      root(of_root),
      name(std::move(own_name)) {}

// One after the other, where the default would nest as deep as the tree is.
OpenDir::~OpenDir() {
  while (parent && parent.use_count() == 1) {
    std::shared_ptr<OpenDir> above = std::move(parent->parent);
    parent = std::move(above);
  }
}

std::string path_below(const OpenDir& dir, std::string_view name) {
  std::vector<std::string_view> parts{name};
  for (const OpenDir* at = &dir; at->parent; at = at->parent.get()) parts.emplace_back(at->name);
  std::string path;
  for (std::size_t i = parts.size(); i-- > 0;) {
    path += parts[i];
    if (i != 0) path += '/';
  }
  return path;
}

void set_metadata(Node& node, const os::Stat& stat, const OpenRoot& root) {
  node.type = node_type(stat.type);
  node.mode = stat.type == os::FileType::kSymlink ? 0777 : stat.mode;
  node.mtime = stat.mtime;
  // Reading changes atimes, and trees that change store anew: mtime stands in, as restic does.
  node.atime = stat.mtime;
  node.ctime = stat.ctime;
  node.uid = stat.uid;
  node.gid = stat.gid;
  node.inode = stat.inode;
  node.device_id = kDeviceIdBase + static_cast<std::uint64_t>(root.index);
  if (stat.type != os::FileType::kDirectory) node.links = stat.links;
  if (stat.type == os::FileType::kBlockDevice || stat.type == os::FileType::kCharDevice) {
    node.device = stat.special_device;
  }
}

}  // namespace cairn::repository
