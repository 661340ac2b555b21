// What is mounted where, as the kernel tells it: /proc/*/mountinfo (proc_pid_mountinfo(5)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::os {

struct MountEntry {
  std::uint64_t mount_id = 0;
  std::uint32_t device_major = 0;  // of the super block: the same for all btrfs subvolumes
  std::uint32_t device_minor = 0;
  std::string root;         // the path within the file system that is mounted
  std::string mount_point;  // where, relative to the process's root
  bool read_only = false;
  std::string file_system;
};

struct MountNamespace {
  std::uint64_t id = 0;  // inode of /proc/PID/ns/mnt
  pid_t pid = 0;         // one process that lives in it
  std::string command;   // its name, for messages
  std::vector<MountEntry> mounts;
};

// Pure: one mountinfo text. Lines that do not parse are an error, kCorrupt.
Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text);
// Cairn's own namespace.
Result<std::vector<MountEntry>> own_mounts();
// Every mount namespace that some process lives in, each once. Processes that end meanwhile are
// left out; a namespace that cannot be read for another reason is an error.
Result<std::vector<MountNamespace>> all_mount_namespaces();

// Where an absolute, resolved host path lies: the mount that shows it and the path within that
// file system. kNotFound where no mount contains it.
struct FileSystemPlace {
  std::uint64_t mount_id = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::string path;  // within the file system; its root is "/"
};
Result<FileSystemPlace> place_of(const std::vector<MountEntry>& mounts, const std::string& path);

// True where path equals base or lies beneath it; both without a trailing slash (but "/").
bool is_at_or_below(std::string_view path, std::string_view base);

}  // namespace cairn::os
