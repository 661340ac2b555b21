// Restorer: writes a stored tree into directories. The tree is not trusted: names are checked,
// links are never followed, every blob is verified, and nothing outside the targets is touched.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/repository.h"
#include "repository/snapshot.h"

namespace cairn::repository {

struct RestoreTarget {
  std::string path;              // absolute, within the snapshot: volume_path(index), "/srv/data"
  const os::Dir* dir = nullptr;  // an empty directory; gets the stored root's metadata too
};
// What a label of SELinux allows depends on the host's policy, not on the data: stored ones are
// left out, and everything gets the one that the target has, or none.

struct RestoreStats {
  std::uint64_t bytes = 0;    // of regular files
  std::uint64_t entries = 0;  // all, with the roots
  std::uint64_t sockets_skipped = 0;
};

// Makes each target an exact copy: content, holes, owners, modes, extended attributes, times, hard
// links, devices. Does not sync: the caller does (syncfs). On failure the targets hold some of it,
// to be removed by the caller. kNotFound: no such path in the snapshot. kCorrupt: damaged or
// malformed data. kNoSpace, kCancelled.
Result<RestoreStats> restore(Repository& repository,
                             const Id& snapshot,
                             const std::vector<RestoreTarget>& targets,
                             Progress& progress,
                             const std::stop_token& stop);

// What a restore of path would write, without reading file contents.
struct StoredSize {
  std::uint64_t bytes = 0;
  std::uint64_t entries = 0;
  std::uint64_t files = 0;  // of these all but directories
};
// At UINT64_MAX where a tree says more than that.
Result<StoredSize> measure(Repository& repository, const Id& snapshot, const std::string& path);
// The same of a directory that is in the index; it counts itself.
Result<StoredSize> measure_tree(Repository& repository, const Id& tree);

// A small file of a snapshot. kNotFound; kInvalid where it is larger than max_bytes or no file.
Result<std::string> read_file(Repository& repository,
                              const Id& snapshot,
                              const std::string& path,
                              std::size_t max_bytes);

}  // namespace cairn::repository
