// scan: one directory of a live volume as it is now, held against what an earlier pass found.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/archiver.h"
#include "repository/facts.h"

namespace cairn::repository {

// File times tick this coarsely at most (CONFIG_HZ=100): two ticks tell "before" for certain.
inline constexpr std::int64_t kClockTickNs = 10'000'000;

// True where whatever changed the object last did so before `since`, for certain.
bool is_before(Timespec changed, Timespec since);

// A volume's root while it is scanned, and what was found in it. One thread at a time.
struct ScanRoot {
  int index = 0;
  const os::Dir* dir = nullptr;
  bool (*passes_over)(std::string_view name) = nullptr;  // of ArchiveRoot
  std::uint64_t mount_id = 0;
  os::FileId id;
  Node node;                                       // of /volumes/<index>
  std::map<std::uint64_t, std::uint64_t> devices;  // st_dev -> device id: nested btrfs subvolumes
  std::uint64_t dirs = 0;
  std::uint64_t entries = 0;  // of directories, the root not counted
  std::uint64_t sockets = 0;
  std::map<std::uint64_t, std::uint64_t> links_missing;  // by inode: names not met yet
  std::vector<std::string> mounts;                       // relative paths of mounts beneath
  std::vector<std::string> warnings;
  std::uint64_t changed_files = 0;  // in a cut
  std::uint64_t changed_bytes = 0;

  static Result<ScanRoot> open(const ArchiveRoot& given);
  void warn(std::string sentence);  // keeps the first hundred
};

struct ScannedEntry {
  Fact fact;
  // The object is as an earlier pass found it: all of fact holds. Otherwise a file's content and
  // extended attributes, and a directory's extended attributes, are still to be read.
  bool unchanged = false;
};

// Lists dir and looks at every entry, in byte order of name. Sockets and mounts are counted and
// left out; what vanishes meanwhile is left out. path is dir's within the root, for messages. known
// may be null. The first directory of a ScanRoot is the root itself. since: when the file system
// was last synced; decides which facts are settled.
Result<std::vector<ScannedEntry>> scan_directory(const os::Dir& dir,
                                                 const std::string& path,
                                                 ScanRoot& root,
                                                 const DirFacts* known,
                                                 Timespec since);

// What is read of a directory itself when a walk enters it.
Status read_directory_facts(const os::Dir& child,
                            Fact& fact,
                            ScanRoot& root,
                            const std::string& path);

// What a warning says where that many files have names outside of the volume.
std::string links_outside_words(std::size_t files);
// What a warning says where a name of an attribute has no place in the format.
std::string lost_xattr_words(const std::string& path);
std::string join_path(const std::string& parent, std::string_view name);

}  // namespace cairn::repository
