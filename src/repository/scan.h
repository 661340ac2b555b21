// scan: the tree of a live volume as it is now, held against what an earlier pass found.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/archive.h"
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
  std::uint64_t entries = 0;                       // of directories, the root not counted
  std::uint64_t sockets = 0;
  std::map<std::uint64_t, std::uint64_t> links_missing;  // by inode: names not met yet
  std::vector<std::string> mounts;                       // relative paths of mounts beneath
  std::size_t xattrs_lost = 0;                           // of the root itself
  std::uint64_t changed_files = 0;                       // in a cut
  std::uint64_t changed_bytes = 0;

  static Result<ScanRoot> open(const ArchiveRoot& given);
};

struct ScannedEntry {
  Fact fact;
  // The object is as an earlier pass found it: all of fact holds. Otherwise a file is still to be
  // described by whoever reads it, and a directory until it is entered: only type, size and name of
  // what had the name hold, and they are no more than a hint.
  bool unchanged = false;
};

// One directory that a walk is in. Its path is made when a message needs it: those of all
// directories on the way down a deep tree would together be as long as the square of its depth.
struct ScanDir {
  std::shared_ptr<ScanDir> above;  // null: the root
  std::string name;                // in above
  os::Dir dir;
  os::FileId id;
  std::optional<DirFacts> known;      // until it is entered; of what is unchanged, only the names
  std::vector<ScannedEntry> entries;  // in byte order of name; one without a name vanished

  ScanDir(std::shared_ptr<ScanDir> above_it,
          std::string its_name,
          os::Dir its_dir,
          os::FileId its_id);
  ~ScanDir();
  ScanDir(const ScanDir&) = delete;
  ScanDir& operator=(const ScanDir&) = delete;
};

// Relative to the root, components joined by "/". name may be empty: the directory's own.
std::string path_below(const ScanDir& dir, std::string_view name);

// What is done with the directories of a walk.
class ScanVisitor {
 public:
  virtual ~ScanVisitor() = default;
  // Listed and held against what is known; nothing beneath it is looked at yet. From here on the
  // walk uses only its entries that are directories.
  virtual Status enter(const std::shared_ptr<ScanDir>& dir) = 0;
  // Everything beneath it was left.
  virtual Status leave(const std::shared_ptr<ScanDir>& dir) = 0;
};

// What known facts come from. Those of this session, in which the wall clock was not stepped, need
// no second look at the file handle where inode number and times are as they were: what has taken
// the number since has a ctime after the facts'. Neither do those of an earlier capture below a
// directory that is unchanged.
enum class KnownFrom { kBefore, kThisSession };

// Walks the tree without following links or crossing mounts, in depth first and without recursion:
// trees may be deeper than a stack is. Sockets and mounts are counted and left out, and so is what
// vanishes meanwhile. known may be null; what cannot be read of it is not known. since: when the
// file system was last synced; decides which facts are settled. kInvalid: deeper than kDepthMax.
// The visitor is called by this thread only; directories are listed by others, too, before it is
// told of them (scan_ahead.h).
Status walk_tree(
    ScanRoot& root, const FactsFile* known, KnownFrom from, Timespec since, ScanVisitor& visitor);

// What a warning says where that many files have names outside of the volume.
std::string links_outside_words(std::size_t files);

}  // namespace cairn::repository
