// What an archiver holds of a root and of a directory while their entries are stored.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "os/dir.h"
#include "parallel/guarded.h"
#include "repository/tree.h"

namespace cairn::repository {

// One root. The walking thread owns what is not atomic or guarded.
struct OpenRoot {
  int index = 0;
  std::uint64_t mount_id = 0;
  Node node;  // of /volumes/<index>
  std::atomic<std::uint64_t> bytes = 0;
  std::atomic<std::uint64_t> files = 0;
  std::uint64_t dirs = 0;
  std::uint64_t sockets = 0;
  std::vector<std::string> mounts;
  std::unordered_map<std::uint64_t, std::uint64_t> links_missing;  // by inode: names not met yet
  std::uint64_t links_outside = 0;  // files with names that were not met
  parallel::Guarded<std::vector<std::string>> warnings;
};

// One directory. pending counts what is not done yet, and one for the walk itself; who takes it to
// zero stores the tree and tells the parent.
struct OpenDir {
  std::shared_ptr<OpenDir> parent;
  std::size_t slot = 0;  // in parent->nodes
  os::Dir dir;
  OpenRoot* root = nullptr;
  std::string name;               // in the parent, "" for the root itself
  std::vector<Node> nodes;        // a node without a name vanished
  std::uint64_t files_bytes = 0;  // sizes of the regular files in it, as listed
  std::atomic<std::size_t> pending = 1;

  OpenDir(std::shared_ptr<OpenDir> parent_dir,
          std::size_t parent_slot,
          os::Dir open_dir,
          OpenRoot* of_root,
          std::string own_name);
  ~OpenDir();
  OpenDir(const OpenDir&) = delete;
  OpenDir& operator=(const OpenDir&) = delete;
};

// Relative to the root, components joined by "/". Made when it is asked for: the paths of all open
// directories of a deep tree would be as long as the square of its depth.
std::string path_below(const OpenDir& dir, std::string_view name);

// What its nodes have as device id.
std::uint64_t device_id_of(const OpenRoot& root);

}  // namespace cairn::repository
