// Adoption: a snapshot that another program wrote into this repository, and a new one made of its
// directories, laid out as Cairn's own are. Nothing is copied: the new trees name the blobs that
// are there. What the other program wrote is foreign input, and stays as it is.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/archive.h"
#include "repository/blob_reader.h"
#include "repository/lock.h"
#include "repository/repository.h"
#include "repository/restorer.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

namespace cairn::repository {

inline constexpr std::size_t kAdoptDigitsMin = 8;  // of an id: restic's usual short form

// The components of an absolute path within a snapshot, none for "/"; slashes may be repeated or
// stand at the end. kInvalid for one that is not absolute, or has "." or ".." or NUL in it.
Result<std::vector<std::string>> parse_tree_path(std::string_view path);

// One directory, as /volumes/<index> of the new snapshot.
struct AdoptedRoot {
  int index = 0;
  Node node;
  StoredSize size;       // with the root
  bool made_up = false;  // "/" itself, whose owner and mode no snapshot holds
};

// One thread at a time. Holds a shared lock of the repository, so that what was checked is there
// when the new snapshot names it. The repository must outlive it.
class Adoption {
 public:
  // The snapshot whose id begins with these hex digits. kInvalid: fewer than kAdoptDigitsMin, no
  // hex digits, or several snapshots match. kNotFound. kBusy: somebody holds the repository alone.
  static Result<Adoption> open(Repository& repository, std::string_view digits);

  [[nodiscard]] const SnapshotInfo& source() const { return source_; }

  // The directory at a path, once everything below it is known to load and all blobs it names are
  // in the index. No link is followed. The error has one reason, whose code says what is wrong:
  // "invalid_path", "no_such_path", "symbolic_link", "not_a_directory", "damaged", "too_large".
  // kCancelled.
  Result<AdoptedRoot> find(int index, std::string_view path, const std::stop_token& stop);

  // Stores the manifest and the directories above the roots; call once, and give the result to
  // Repository::commit. A failure leaves nothing.
  Result<PendingSnapshot> store(std::string_view manifest,
                                const std::vector<AdoptedRoot>& roots,
                                const std::stop_token& stop);

 private:
  Adoption(Repository& repository, std::unique_ptr<RepositoryLock> lock, SnapshotInfo source);
  Result<Node> find_directory(const std::vector<std::string>& path);

  Repository* repository_;
  std::unique_ptr<RepositoryLock> lock_;
  SnapshotInfo source_;
  std::unique_ptr<BlobReader> reader_;
};

}  // namespace cairn::repository
