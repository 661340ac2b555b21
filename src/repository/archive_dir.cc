#include "repository/archive_dir.h"

#include <algorithm>
#include <utility>

#include "repository/entry.h"

namespace cairn::repository {

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

std::uint64_t device_id_of(const OpenRoot& root) {
  return kDeviceIdBase + static_cast<std::uint64_t>(root.index);
}

}  // namespace cairn::repository
