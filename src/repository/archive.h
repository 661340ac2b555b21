// What is stored of directory trees, and how those are stored that hold still. Trees that change
// meanwhile are a CaptureSession's. docs/formats.md says how a tree is laid out.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/repository.h"
#include "repository/snapshot.h"

namespace cairn::repository {

// One directory to store, as /volumes/<index>.
struct ArchiveRoot {
  int index = 0;
  const os::Dir* dir = nullptr;
  // Names in the root that are passed over; null: none.
  bool (*passes_over)(std::string_view name) = nullptr;
};

struct RootStats {
  int index = 0;
  std::uint64_t bytes = 0;  // of regular files, as read; a hard-linked file counts each time
  std::uint64_t files = 0;  // entries but directories
  std::uint64_t dirs = 0;   // the root too
  std::uint64_t sockets_skipped = 0;
  std::uint64_t links_outside = 0;          // files with further names that are not below the root
  std::vector<std::string> mounts_skipped;  // relative paths of mounts beneath the root
  std::vector<std::string> warnings;        // sentences, at most 100
  std::uint64_t walked = 0;                 // entries that were looked at
  std::uint64_t changed_files = 0;          // in the cut, as bytes are
  std::uint64_t changed_bytes = 0;          // cloned or copied aside
};

struct ArchiveResult {
  Id tree;
  std::vector<RootStats> roots;
  std::uint64_t bytes_added = 0;  // to the repository, as stored
  std::uint64_t blobs_added = 0;
};

// Stored but not named by a snapshot yet. Holds a shared lock on the repository. Give it to
// Repository::commit, or drop it: then its packs are taken back.
struct PendingSnapshot {
  PendingSnapshot();
  ~PendingSnapshot();
  PendingSnapshot(PendingSnapshot&&) noexcept;
  PendingSnapshot& operator=(PendingSnapshot&&) noexcept;

  ArchiveResult result;
  std::vector<std::string> paths;
  Repository* repository = nullptr;  // that has the packs
  std::vector<IndexedPack> packs;    // saved, not in an index file yet
  std::unique_ptr<RepositoryLock> lock;
};

inline constexpr std::string_view kManifestPath = "/manifest.json";
// "/volumes/<index>"
std::string volume_path(int index);

// Reads every root without following links or crossing mounts and stores what is not in the
// repository yet: a CaptureSession with one pass and no cut. A file that changes while it is read
// is stored as it was read; one that vanishes is left out. scratch: a directory on a disk, of
// nobody else, for temporary files. kCancelled where stop was asked; any failure leaves nothing.
Result<PendingSnapshot> archive(Repository& repository,
                                std::string_view manifest_json,
                                const std::vector<ArchiveRoot>& roots,
                                const os::Dir& scratch,
                                Progress& progress,
                                const std::stop_token& stop);

}  // namespace cairn::repository
