// Repository: restic's format, version 2, in one place: keys, index, packs, snapshots and locks.
// docs/formats.md describes what is written, docs/ordering.md in which order.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/crypto.h"
#include "codec/hash.h"
#include "repository/snapshot.h"

namespace cairn::repository {

class Backend;
class BlobIndex;
class RepositoryLock;
struct IndexedPack;
struct PendingSnapshot;
enum class BlobType : std::uint8_t;
enum class FileKind;

// Who we say we are in locks and keys.
struct Owner {
  std::string hostname;
  std::string username;
};

enum class LockMode { kShared, kExclusive };

// Thread-safe. Holds the opened master key; scrypt runs in init() and open() only.
class Repository {
 public:
  // Makes a repository in a directory that is missing or empty. kExists where there is one already.
  // A failure leaves files that a second init() takes over as long as there is no config.
  static Result<std::unique_ptr<Repository>> init(const std::string& path,
                                                  const std::string& password,
                                                  const Owner& owner);
  // kNotFound: no repository there. kDenied: no key opens with this password. kInvalid: a version
  // that Cairn does not know.
  static Result<std::unique_ptr<Repository>> open(const std::string& path,
                                                  const std::string& password,
                                                  const Owner& owner);
  // The same over any backend.
  static Result<std::unique_ptr<Repository>> init(std::unique_ptr<Backend> backend,
                                                  const std::string& password,
                                                  const Owner& owner);
  static Result<std::unique_ptr<Repository>> open(std::unique_ptr<Backend> backend,
                                                  const std::string& password,
                                                  const Owner& owner);
  ~Repository();
  Repository(const Repository&) = delete;
  Repository& operator=(const Repository&) = delete;

  // 64 hex digits, from the config.
  [[nodiscard]] const std::string& id() const;
  // What restic's -r takes.
  [[nodiscard]] std::string location() const;
  [[nodiscard]] const Owner& owner() const;

  // Newest last. Files that are not snapshots are an error, kCorrupt.
  Result<std::vector<SnapshotInfo>> snapshots();
  Result<SnapshotInfo> snapshot(const Id& id);
  // By a prefix of the id of at least four digits: kNotFound, or kInvalid where several match.
  Result<SnapshotInfo> find_snapshot(std::string_view prefix);
  // Makes what an Archiver stored a snapshot: packs durable, then the index, then the snapshot.
  // After a failure there is no snapshot, and no data but what an index may name.
  Result<Id> commit(PendingSnapshot pending, const SnapshotMeta& meta);
  // Removes the snapshot, durably; its data stays until a prune. kNotFound where there is none.
  Status remove_snapshot(const Id& id);
  // Packs that were stored and that no index names are gone, as far as the backend can remove them.
  void take_back(const std::vector<IndexedPack>& packs);

  // Takes a lock that restic respects and respects restic's. kBusy with the holder's host and
  // process where somebody's lock conflicts. Removed by the destructor.
  Result<std::unique_ptr<RepositoryLock>> lock(LockMode mode);
  // Removes locks that are stale: old, or of a dead process of this host.
  Status remove_stale_locks();

  // Reads the index files that are new since the last call, forgets those that are gone.
  Status refresh_index();
  // A consistent view of the index that stays as it is. Never null.
  [[nodiscard]] std::shared_ptr<const BlobIndex> index() const;

  // One blob, verified against its id. kNotFound: not in the index. kCorrupt: damaged.
  Result<Bytes> load_blob(BlobType type, const Id& id);

  // For this module: unpacked files (index, snapshot, lock) and their storage.
  Result<std::string> load_unpacked(FileKind kind, const Id& id);
  Result<Id> save_unpacked(FileKind kind, std::string_view json);
  // Index files of these packs, which are durable: saved, then added to the index.
  Status save_index(std::vector<IndexedPack> packs);
  [[nodiscard]] Backend& backend() const;
  [[nodiscard]] const codec::BoxKey& master_key() const;

 private:
  struct State;
  explicit Repository(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// 32 random characters without look-alikes, more than 150 bits: for a repository made by Cairn.
std::string make_password();

}  // namespace cairn::repository
