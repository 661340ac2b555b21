// RepositoryLock: a lock file that restic understands, refreshed while it lives.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "repository/repository.h"

namespace cairn::repository {

// Thread-safe. The repository must outlive it.
class RepositoryLock {
 public:
  // Looks for conflicts and writes the lock. Two that begin at the same moment may both come this
  // far; confirm() finds that out.
  static Result<std::unique_ptr<RepositoryLock>> take(Repository& repository, LockMode mode);
  // Removes the lock file.
  ~RepositoryLock();
  RepositoryLock(const RepositoryLock&) = delete;
  RepositoryLock& operator=(const RepositoryLock&) = delete;

  // Looks again, and says kBusy where a conflicting lock came up: of two that were taken at the
  // same moment, the later one sees the other. Where a list may be late, it first waits until
  // kLockWaitMs after taking. Before anything is removed or referenced. kUnavailable where the lock
  // could not be refreshed for too long.
  Status confirm();

 private:
  RepositoryLock(Repository& repository, LockMode mode);
  Result<Id> write();
  Status check_others();
  void refresh_loop(const std::stop_token& stop);

  Repository& repository_;
  const LockMode mode_;
  const Timespec time_;
  std::int64_t taken_ms_ = 0;  // monotonic
  std::mutex mutex_;
  Id id_;                          // guarded by mutex_
  std::int64_t refreshed_ms_ = 0;  // monotonic; guarded by mutex_
  std::condition_variable_any wake_;
  std::jthread refresher_;
};

// Removes the repository's stale locks, those of others and of a dead process of this host.
Status remove_stale_locks(Repository& repository);

}  // namespace cairn::repository
