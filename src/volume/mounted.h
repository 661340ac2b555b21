// mounted: who else sees a volume, asked of the kernel (/proc/*/mountinfo), since the engine's
// filters miss mounts of parent directories and other engines.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/mount.h"

namespace cairn::volume {

enum class MountUse {
  kRootIsMount,   // the volume's root is a mount point itself
  kBeneath,       // something is mounted on a directory inside the volume
  kVolume,        // somebody mounts the volume or something inside it
  kParentWrites,  // somebody mounts a directory around it at another path, writable
  kParentReads,   // the same, read-only
};

struct Sighting {
  MountUse use = MountUse::kVolume;
  std::uint64_t name_space = 0;  // id of the mount namespace
  pid_t pid = 0;                 // a process that lives there
  std::string command;
  std::string mount_point;  // as seen there
  // A parent mount that shows the volume at the host's own path, or the volume's own mount where
  // its root is a mount point. A service with a private view of the host has these and does not
  // count; a container's do.
  bool same_path = false;
};

// Everything that sees the tree at `path` (absolute, links resolved) beside the host's own view of
// it (mounts of parents at the same path included, marked). `own` is the id of Cairn's own mount
// namespace. Pure.
Result<std::vector<Sighting>> find_sightings(const std::vector<os::MountNamespace>& all,
                                             const std::vector<os::MountEntry>& own_mounts,
                                             std::uint64_t own,
                                             const std::string& path);

// The mount namespace of a process; 0 where it is gone.
std::uint64_t mount_namespace_of(pid_t pid);

// A sentence for people: "container backup mounts it at /data (writable)".
std::string describe(const Sighting& sighting, const std::string& container);

}  // namespace cairn::volume
