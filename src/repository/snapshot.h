// A snapshot as the repository holds it: a small file that names a tree. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "codec/hash.h"

namespace cairn::repository {

using codec::Id;

// What the writer of a snapshot says about it.
struct SnapshotMeta {
  Timespec time;
  std::string hostname;  // the workload's name
  std::string username;
  std::vector<std::string> tags;  // without commas, as restic wants
  std::optional<Id> parent;
  std::optional<Id> original;  // the snapshot that this one was made from
};

struct SnapshotInfo {
  Id id;
  Id tree;
  SnapshotMeta meta;
  std::vector<std::string> paths;  // absolute paths within the tree
};

// The JSON of the file. paths must be absolute.
std::string encode_snapshot(const SnapshotInfo& snapshot);
// kCorrupt for anything but a snapshot. id is the file's name.
Result<SnapshotInfo> parse_snapshot(const Id& id, std::string_view json);

}  // namespace cairn::repository
