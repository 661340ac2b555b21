#include "volume/mounted.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/strings.h"

namespace cairn::volume {

namespace {

// The path at which a mount shows `inside`, a path of its file system at or below the mount's root.
std::string shown_at(const os::MountEntry& mount, const std::string& inside) {
  const std::string rest = mount.root == "/" ? inside : inside.substr(mount.root.size());
  const std::string base = mount.mount_point == "/" ? "" : mount.mount_point;
  const std::string whole = base + rest;
  return whole.empty() ? "/" : whole;
}

bool same_device(const os::MountEntry& mount, const os::FileSystemPlace& place) {
  return mount.device_major == place.device_major && mount.device_minor == place.device_minor;
}

}  // namespace

Result<std::vector<Sighting>> find_sightings(const std::vector<os::MountNamespace>& all,
                                             const std::vector<os::MountEntry>& own_mounts,
                                             std::uint64_t own,
                                             const std::string& path) {
  TRY_ASSIGN(const os::FileSystemPlace place, os::place_of(own_mounts, path));
  const bool root_is_mount =
      std::ranges::find(own_mounts, path, &os::MountEntry::mount_point) != own_mounts.end();
  std::vector<Sighting> out;
  const auto add = [&out](MountUse use, const os::MountNamespace& where,
                          const os::MountEntry& mount) {
    out.push_back({use, where.id, where.pid, where.command, mount.mount_point});
  };
  for (const os::MountNamespace& where : all) {
    for (const os::MountEntry& mount : where.mounts) {
      const bool ours = where.id == own;
      if (ours && mount.mount_point == path) {
        add(MountUse::kRootIsMount, where, mount);
        continue;
      }
      if (ours && os::is_at_or_below(mount.mount_point, path)) {
        add(MountUse::kBeneath, where, mount);
        continue;
      }
      if (!same_device(mount, place)) continue;
      if (os::is_at_or_below(mount.root, place.path)) {
        add(MountUse::kVolume, where, mount);
        out.back().same_path =
            root_is_mount && mount.mount_point == path && mount.root == place.path;
        continue;
      }
      if (!os::is_at_or_below(place.path, mount.root)) continue;
      const bool same_path = shown_at(mount, place.path) == path;
      if (ours && same_path) continue;  // the host's own view
      add(mount.read_only ? MountUse::kParentReads : MountUse::kParentWrites, where, mount);
      out.back().same_path = same_path;
    }
  }
  return out;
}

std::uint64_t mount_namespace_of(pid_t pid) {
  struct stat raw{};
  if (::stat(fmt::format("/proc/{}/ns/mnt", pid).c_str(), &raw) != 0) return 0;
  return raw.st_ino;
}

std::string describe(const Sighting& sighting, const std::string& container) {
  const std::string who =
      container.empty() ? fmt::format("process {} ({})", sighting.pid, printable(sighting.command))
                        : "container " + container;
  const std::string where = printable(sighting.mount_point);
  switch (sighting.use) {
    case MountUse::kRootIsMount:
      return "the volume's root is itself a mount point";
    case MountUse::kBeneath:
      return "something is mounted beneath its root, at " + where;
    case MountUse::kVolume:
      return who + " mounts it at " + where;
    case MountUse::kParentWrites:
      return who + " sees it through a writable mount at " + where;
    case MountUse::kParentReads:
      return who + " sees it through a read-only mount at " + where;
  }
  return {};
}

}  // namespace cairn::volume
