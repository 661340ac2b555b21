#include "repository/pruner.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "repository/backend/backend.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/blob_writer.h"
#include "repository/lock.h"
#include "repository/tree_walk.h"

namespace cairn::repository {

namespace {

// A pack is written again when more than a fifth of it is waste.
constexpr std::uint64_t kWasteDivisor = 5;
// Beyond this many index files they are merged although nothing else changes.
constexpr std::size_t kIndexFilesMax = 32;

struct Plan {
  std::vector<IndexedPack> keep;     // as they are, waste and all
  std::vector<IndexedPack> repack;   // with their used blobs only
  std::vector<std::string> remove;   // packs of the index without use, and those repacked
  std::vector<std::string> orphans;  // packs that no index names
  std::vector<std::string> old_index;
};

// The one copy of each used blob that is kept.
using Used = std::unordered_map<Id, BlobIndex::Location, codec::IdHash>;

struct UsedBlobs {
  Used data;
  Used trees;
  [[nodiscard]] bool uses(const Id& pack, const PackedBlob& blob) const {
    const Used& used = blob.type == BlobType::kTree ? trees : data;
    const auto found = used.find(blob.id);
    return found != used.end() && found->second.pack == pack &&
           found->second.blob.offset == blob.offset;
  }
};

// Tells found of every blob that a snapshot uses. kCorrupt where one is not in the index: what the
// index does not name may then be what is missing.
Status walk_snapshots(Repository& repository,
                      const TreeWalk::Found& found,
                      const std::stop_token& stop) {
  std::string fault;
  TreeWalk walk(repository, found, [&fault](const Id& tree, const std::string& detail) {
    if (fault.empty()) fault = "tree " + tree.hex().substr(0, 8) + ": " + detail;
  });
  TRY_ASSIGN(const std::vector<SnapshotInfo> snapshots, repository.snapshots());
  for (const SnapshotInfo& snapshot : snapshots) {
    TRY(walk.walk(snapshot.tree, stop));
    if (!fault.empty()) {
      return Error(Code::kCorrupt, "not pruned, the repository is damaged: " + fault);
    }
  }
  return {};
}

Result<UsedBlobs> find_used(Repository& repository, const std::stop_token& stop) {
  UsedBlobs used;
  const auto found = [&used](const BlobIndex::Location& location) {
    (location.blob.type == BlobType::kTree ? used.trees : used.data)[location.blob.id] = location;
  };
  TRY(walk_snapshots(repository, found, stop));
  return used;
}

Result<Plan> make_plan(Repository& repository, const UsedBlobs& used) {
  Plan plan;
  TRY_ASSIGN(const std::vector<StoredFile> files, repository.backend().list(FileKind::kPack));
  std::map<std::string, std::uint64_t> there;
  for (const StoredFile& file : files) there[file.name] = file.size_bytes;
  for (IndexedPack& pack : repository.index()->packs()) {
    const std::uint64_t size = pack_size(pack.blobs);
    std::uint64_t used_bytes = 0;
    std::vector<PackedBlob> used_blobs;
    for (const PackedBlob& blob : pack.blobs) {
      if (!used.uses(pack.id, blob)) continue;
      used_blobs.push_back(blob);
      used_bytes += blob.length;
    }
    const std::string name = pack.id.hex();
    const auto found = there.find(name);
    const bool missing = found == there.end() || found->second != size;
    if (missing && !used_blobs.empty()) {
      return Error(Code::kCorrupt, "not pruned: pack " + name.substr(0, 8) + " is damaged");
    }
    if (found != there.end()) there.erase(found);
    if (used_blobs.empty()) {
      plan.remove.push_back(name);
    } else if ((size - used_bytes) * kWasteDivisor > size &&
               used_blobs.size() < pack.blobs.size()) {
      plan.remove.push_back(name);
      plan.repack.push_back({pack.id, std::move(used_blobs)});
    } else {
      plan.keep.push_back(std::move(pack));
    }
  }
  for (const auto& [name, size] : there) plan.orphans.push_back(name);
  TRY_ASSIGN(const std::vector<StoredFile> index_files,
             repository.backend().list(FileKind::kIndex));
  for (const StoredFile& file : index_files) plan.old_index.push_back(file.name);
  return plan;
}

// Copies used blobs, each verified, into new packs.
Result<std::vector<IndexedPack>> repack(Repository& repository,
                                        const std::vector<IndexedPack>& packs,
                                        Progress& progress,
                                        const std::stop_token& stop) {
  BlobWriter writer(repository, stop);
  BlobReader reader(repository);
  StoreContext context(repository.master_key());
  Bytes plain;
  std::uint64_t done = 0;
  for (const IndexedPack& pack : packs) {
    if (stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
    for (const PackedBlob& blob : pack.blobs) {
      TRY(check_blob_size(blob));
      Bytes sealed(blob.length);
      TRY(repository.backend().load_range(FileKind::kPack, pack.id.hex(), blob.offset, sealed));
      TRY_CONTEXT(reader.open(blob, sealed, plain), "pack " + pack.id.hex().substr(0, 8));
      TRY(writer.copy_sealed(blob, sealed, context));
    }
    progress.count({.items_done = ++done, .items_total = packs.size()});
  }
  return writer.finish();
}

Status remove_packs(Repository& repository,
                    const std::vector<std::string>& names,
                    PruneStats& stats) {
  for (const std::string& name : names) {
    const auto size = repository.backend().size_of(FileKind::kPack, name);
    const Status removed = repository.backend().remove(FileKind::kPack, name);
    if (!removed.ok()) {
      if (removed.error().code() == Code::kNotFound) continue;
      return removed;
    }
    ++stats.packs_removed;
    stats.bytes_freed += size.value_or(0);
  }
  return {};
}

}  // namespace

Result<std::vector<StoredFile>> find_unindexed(Repository& repository) {
  // Listed before the index is read: what is stored whole meanwhile is in the index by then.
  TRY_ASSIGN(std::vector<StoredFile> packs, repository.backend().list(FileKind::kPack));
  TRY(repository.refresh_index());
  std::set<std::string> named;
  for (const IndexedPack& pack : repository.index()->packs()) named.insert(pack.id.hex());
  std::erase_if(packs, [&named](const StoredFile& pack) { return named.contains(pack.name); });
  return packs;
}

Result<PruneStats> remove_unindexed(Repository& repository) {
  PruneStats stats;
  TRY_ASSIGN(std::vector<StoredFile> packs, find_unindexed(repository));
  if (packs.empty()) return stats;
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kExclusive));
  TRY_ASSIGN(packs, find_unindexed(repository));
  // Where an index file was lost these packs are the data: only a whole repository is swept.
  TRY(walk_snapshots(repository, [](const BlobIndex::Location&) {}, {}));
  std::vector<std::string> names;
  for (const StoredFile& pack : packs) names.push_back(pack.name);
  TRY(remove_packs(repository, names, stats));
  return stats;
}

Result<PruneStats> prune(Repository& repository, Progress& progress, const std::stop_token& stop) {
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kExclusive));
  TRY(repository.refresh_index());
  progress.phase("find used data");
  TRY_ASSIGN(const UsedBlobs used, find_used(repository, stop));
  TRY_ASSIGN(const Plan plan, make_plan(repository, used));
  PruneStats stats;

  // 1. What no index names is nobody's.
  TRY(remove_packs(repository, plan.orphans, stats));
  if (plan.remove.empty() && plan.old_index.size() <= kIndexFilesMax) return stats;

  // 2. Used blobs of wasteful packs, once more. 3. An index of what stays and what is new; both
  // are durable before anything that they replace goes.
  progress.phase("repack");
  TRY_ASSIGN(std::vector<IndexedPack> packs, repack(repository, plan.repack, progress, stop));
  stats.packs_repacked = plan.repack.size();
  TRY(repository.backend().flush());
  TRY(lock->confirm());
  std::uint64_t added = 0;
  for (const IndexedPack& pack : packs) added += pack_size(pack.blobs);
  packs.insert(packs.end(), plan.keep.begin(), plan.keep.end());
  progress.phase("write the index");
  TRY(repository.save_index(std::move(packs)));

  // 4. The old index, durably. 5. The packs that only it named.
  for (const std::string& name : plan.old_index) {
    const Status removed = repository.backend().remove(FileKind::kIndex, name);
    if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed.error();
  }
  progress.phase("remove packs");
  TRY(remove_packs(repository, plan.remove, stats));
  TRY(repository.refresh_index());
  stats.bytes_freed -= std::min(added, stats.bytes_freed);
  return stats;
}

}  // namespace cairn::repository
