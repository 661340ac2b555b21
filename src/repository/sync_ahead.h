// SyncAhead: has what is written to large files on the disk, and out of the disk's own cache, while
// more is written. The sync that ends a restore, and is what makes it durable, finds little left.
#pragma once

#include <atomic>
#include <cstddef>

#include "base/result.h"
#include "os/fd.h"
#include "parallel/bounded_queue.h"
#include "parallel/task_group.h"

namespace cairn::repository {

// wrote() is thread-safe, the rest is for one thread. Has a thread of its own; the destructor waits
// for the sync that is under way.
class SyncAhead {
 public:
  SyncAhead();
  // After a write: after kSyncEveryBytes, whatever files they went to, this file is synced
  // (fdatasync(2)), once the sync before has ended.
  void wrote(const os::Fd& file, std::size_t bytes);
  // Ends the syncs: the first failure of one, as what it could not write is lost.
  Status finish();

 private:
  std::atomic<std::size_t> bytes_ = 0;  // since the last sync was asked for
  std::atomic<bool> busy_ = false;      // a sync was asked for and has not ended
  parallel::BoundedQueue<os::Fd> files_{1};
  parallel::TaskGroup group_;
};

}  // namespace cairn::repository
