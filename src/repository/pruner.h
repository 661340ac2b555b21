// Pruner: gives back the space of data that no snapshot names.
#pragma once

#include <cstdint>
#include <stop_token>

#include "base/progress.h"
#include "base/result.h"
#include "repository/repository.h"

namespace cairn::repository {

struct PruneStats {
  std::uint64_t packs_removed = 0;
  std::uint64_t packs_repacked = 0;
  std::uint64_t bytes_freed = 0;
};

// Under an exclusive lock. Packs without used blobs are removed, packs that are more than a fifth
// waste are written again. Refuses, changing nothing, where a used blob is missing (kCorrupt). Safe
// to kill at any moment: new packs, new index, old index gone, old packs gone, in this order.
Result<PruneStats> prune(Repository& repository, Progress& progress, const std::stop_token& stop);

}  // namespace cairn::repository
