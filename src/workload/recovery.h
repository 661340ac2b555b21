// Recovery: the workloads that wait for their engine. Each is locked as "recovering" where an
// operation was cut off, and tried again by one thread until it is settled. The same thread looks
// now and then for what should run and does not: the successor of a killed engine leaves containers
// down (docs/engine-behaviour.md), and nobody else would start them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "parallel/keyed_lock.h"
#include "workload/core.h"

namespace cairn::workload {

// Thread-safe. The destructor stops the thread and frees the locks.
class Recovery {
 public:
  explicit Recovery(const Core& core);
  ~Recovery();
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

  // Settles every workload now; those that cannot be settled yet are left to the thread.
  Status run();
  // Leaves a workload to the thread, with the lock that the failed operation held. Nobody gets the
  // lock in between.
  void adopt(const std::string& workload_id, parallel::LockGuard guard);
  // Stops the thread; what still waits stays locked. Once more does nothing. One thread.
  void end();
  [[nodiscard]] std::vector<std::string> pending() const;

 private:
  struct Entry {
    std::optional<parallel::LockGuard> guard;
    std::int64_t next_try_ms = 0;  // monotonic
    std::int64_t wait_ms = kRecoveryRetryMs;
    bool told = false;  // an event says that it did not work
    bool owed = false;  // an operation failed and said that it goes on: its end is told in any case
  };

  void work(const std::stop_token& stop);
  // One try, on the entry taken out of the map. True when there is nothing more to do.
  bool attempt(const std::string& workload_id, Entry& entry);
  // False where somebody else holds the lock.
  bool take_guard(const catalog::Workload& workload, Entry& entry);
  void put_off(const std::string& workload_id, Entry& entry, const Error& error);
  // Makes entries of the workloads that should run and are down, unless somebody works on them.
  void look();

  // What look() found down, and when it counts again: what cannot run is not tried without end.
  struct Down {
    std::int64_t wait_ms = 0;
    std::int64_t next_ms = 0;  // monotonic
  };

  const Core& core_;
  std::map<std::string, Down> down_;  // of the thread alone
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::string, Entry> entries_;    // guarded by mutex_
  std::optional<std::string> in_progress_;  // guarded by mutex_: the one being tried
  std::uint64_t arrivals_ = 0;              // guarded by mutex_: counts what the thread must see
  std::jthread thread_;                     // last: it uses all of the above
};

}  // namespace cairn::workload
