// Archiver: stores directory trees in a repository. docs/formats.md says how a tree is laid out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/repository.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

namespace cairn::repository {

// One directory to store, as /volumes/<index>.
struct ArchiveRoot {
  int index = 0;
  const os::Dir* dir = nullptr;
  // Names in the root that are passed over. Only a CaptureSession asks; null: none.
  bool (*passes_over)(std::string_view name) = nullptr;
};

// Which file is asked about: valid during the call only.
struct FilePlace {
  int root_index = 0;
  std::string_view path;  // relative to the root, components joined by "/"
  const os::Dir* dir = nullptr;
  std::string_view name;
};

// Remembers contents between passes, so that unchanged files are not read again. What it says is
// trusted to be the file's content; blobs that the repository lost make the file be read.
// Thread-safe.
class KnownFiles {
 public:
  virtual ~KnownFiles() = default;
  // The content that the file at place, which looks like stat now, is known to have.
  virtual std::optional<std::vector<Id>> find(const FilePlace& place, const os::Stat& stat) = 0;
  // The whole entry, where nothing about the file changed, its times and attributes neither: then
  // it is not even opened. Asked first, by the walking thread.
  virtual std::optional<Node> find_entry(const FilePlace& place, const os::Stat& stat) {
    (void)place;
    (void)stat;
    return std::nullopt;
  }
  // The file was read; stat was taken before the first byte.
  virtual void remember(const FilePlace& place,
                        const os::Stat& stat,
                        const std::vector<Id>& content) = 0;
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
  // Of a CaptureSession's cut; zero elsewhere.
  std::uint64_t walked = 0;  // entries that were looked at
  std::uint64_t changed_files = 0;
  std::uint64_t changed_bytes = 0;  // cloned or copied aside
};

struct ArchiveResult {
  Id tree;
  std::vector<RootStats> roots;
  std::uint64_t bytes_added = 0;  // to the repository, as stored
  std::uint64_t blobs_added = 0;
};

// Stored but not named by a snapshot yet. Holds a shared lock on the repository. Give it to
// Repository::commit, or drop it: then its data is garbage for the next prune.
struct PendingSnapshot {
  PendingSnapshot();
  ~PendingSnapshot();
  PendingSnapshot(PendingSnapshot&&) noexcept;
  PendingSnapshot& operator=(PendingSnapshot&&) noexcept;

  ArchiveResult result;
  std::vector<std::string> paths;
  std::vector<IndexedPack> packs;  // saved, not in an index file yet
  std::unique_ptr<RepositoryLock> lock;
};

inline constexpr std::string_view kManifestPath = "/manifest.json";
// "/volumes/<index>"
std::string volume_path(int index);

// Reads every root without following links or crossing mounts and stores what is not in the
// repository yet. A file that changes while it is read is stored as it was read; one that vanishes
// is left out. Uses up to kWorkersMax threads and bounded memory. known may be null. kCancelled
// where stop was asked; any failure leaves only unreferenced packs.
Result<PendingSnapshot> archive(Repository& repository,
                                std::string_view manifest_json,
                                const std::vector<ArchiveRoot>& roots,
                                KnownFiles* known,
                                Progress& progress,
                                const std::stop_token& stop);

}  // namespace cairn::repository
