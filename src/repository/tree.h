// Tree blobs: one directory's entries as JSON, byte for byte in restic's form. docs/formats.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/snapshot.h"

namespace cairn::repository {

enum class NodeType { kFile, kDir, kSymlink, kDevice, kCharDevice, kFifo, kSocket, kIrregular };

struct Node {
  std::string name;  // any bytes but "/" and NUL
  NodeType type = NodeType::kFile;
  std::uint32_t mode = 0;  // 07777
  Timespec mtime;
  Timespec atime;
  Timespec ctime;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t inode = 0;
  std::uint64_t device_id = 0;  // tells hard links apart, with inode
  std::uint64_t size = 0;       // files: bytes
  std::uint64_t links = 0;      // not of directories
  std::string link_target;
  std::vector<os::Xattr> xattrs;  // sorted by name
  std::uint64_t device = 0;       // st_rdev
  std::vector<Id> content;        // files: blobs in order
  Id subtree;                     // directories
  bool operator==(const Node&) const = default;
};

// nodes must be sorted by name without duplicates.
std::string encode_tree(std::span<const Node> nodes);

// kCorrupt unless every name is one path component, strictly increasing, every type known, and
// every entry has what its type needs.
Result<std::vector<Node>> parse_tree(std::string_view json);

// Go's strconv.Quote without the outer quotes, and back; kCorrupt where the text is not so quoted.
std::string quote_name(std::string_view name);
Result<std::string> unquote_name(std::string_view quoted);

}  // namespace cairn::repository
