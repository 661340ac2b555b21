// recovery: what unfinished journals say is brought to an end before anything else may touch those
// workloads; while the engine is down they stay locked as "recovering" and are tried again.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// Thread-safe.
class Recovery {
 public:
  explicit Recovery(Core& core) : core_(core) {}
  // Asks its thread to stop and joins it; what waits is recovered at the next start.
  ~Recovery();

  // Locks and recovers every journal; call once, before serving. A journal that cannot be read
  // stays as it is, and its workload locked, until a person has removed it or it can be read. An
  // error means that the journal directory itself cannot be read.
  Status run();
  // Takes over the lock of an operation that could not be brought to an end, and tries again.
  void keep(const std::string& operation, parallel::LockGuard lock);
  // The same where the operation's journal is still there.
  void keep_if_unfinished(const std::string& operation, parallel::LockGuard lock);
  // Workload ids that wait.
  [[nodiscard]] std::vector<std::string> waiting() const;

 private:
  struct Waiting {
    parallel::LockGuard lock;
    std::string workload;
    std::string why;  // as it was told last
  };
  // Locks the workload of a journal that cannot be read.
  void keep_damaged(const std::string& operation, const Error& why);
  // Tells why an operation waits, where that is not what was told last.
  void tell_why(const std::string& operation, const std::string& why);
  // One journal; ok when nothing of it is left to do. engine_up: false leaves alone what needs it.
  Status recover_one(const std::string& operation, bool engine_up, std::stop_token stop);
  void retry_until_done(std::stop_token stop);

  Core& core_;
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::string, Waiting> waiting_;  // by operation; guarded by mutex_
  std::jthread thread_;                     // guarded by mutex_ while it is started
};

// Finishes the removal of a snapshot: its repository file, then its row.
Status remove_stored(Core& core, const catalog::SnapshotRow& snapshot);

// Ends the storing of an operation's replaced data, if it runs, and waits for its end.
Status stop_storing(Core& core, const std::string& operation);
// Starts it again where the journal still asks for it.
void resume_storing(Core& core, const std::string& operation);

}  // namespace cairn::volume
