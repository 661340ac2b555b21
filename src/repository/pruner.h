// Pruner: gives back the space of data that no snapshot names.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "repository/backend/backend.h"
#include "repository/repository.h"

namespace cairn::repository {

struct PruneStats {
  std::uint64_t packs_removed = 0;
  std::uint64_t packs_repacked = 0;
  std::uint64_t bytes_freed = 0;
};

// Packs that no index names: of a store that was interrupted, or that goes on now, in any process.
Result<std::vector<StoredFile>> find_unindexed(Repository& repository);
// Removes them, under an exclusive lock, which is taken only where there are any. kConflict where
// somebody else works in the repository; kCorrupt, and nothing is removed, where a snapshot needs
// what the index does not name: an index file may be lost.
Result<PruneStats> remove_unindexed(Repository& repository);

// Under an exclusive lock. Packs without used blobs are removed, packs that are more than a fifth
// waste are written again. Refuses, changing nothing, where a used blob is missing (kCorrupt). Safe
// to kill at any moment: new packs, new index, old index gone, old packs gone, in this order.
Result<PruneStats> prune(Repository& repository, Progress& progress, const std::stop_token& stop);

}  // namespace cairn::repository
