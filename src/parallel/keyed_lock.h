// LockTable: locks by name, taken together or not at all, each with the word of who holds it.
// Keys are "workload:<id>" and "volume:<path>". Thread-safe; no I/O happens under its mutex.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::parallel {

// The holder of what waits for its recovery; others are operation ids.
inline constexpr std::string_view kRecovering = "recovering";

class LockTable;

// Holds its keys until destroyed. Move only.
class LockGuard {
 public:
  LockGuard() = default;
  LockGuard(LockGuard&& other) noexcept;
  LockGuard& operator=(LockGuard&& other) noexcept;
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;
  ~LockGuard();
  void release();
  // The same keys, from now on held in another name. Nobody can take them in between.
  void hand_over(const std::string& holder);

 private:
  friend class LockTable;
  LockGuard(LockTable* table, std::vector<std::string> keys)
      : table_(table), keys_(std::move(keys)) {}
  LockTable* table_ = nullptr;
  std::vector<std::string> keys_;
};

class LockTable {
 public:
  // All keys or none. kBusy with ErrorDetail::holder of the first taken key otherwise.
  Result<LockGuard> try_lock(std::vector<std::string> keys, const std::string& holder);
  // Waits until all are free at once; kCancelled when stop is requested.
  Result<LockGuard> lock(std::vector<std::string> keys,
                         const std::string& holder,
                         std::stop_token stop);
  // Who holds the key; empty when nobody does.
  [[nodiscard]] std::string holder(const std::string& key) const;

 private:
  friend class LockGuard;
  void unlock(const std::vector<std::string>& keys);
  void rename(const std::vector<std::string>& keys, const std::string& holder);
  // The first taken key, or nullptr. The mutex is held.
  const std::string* find_taken(const std::vector<std::string>& keys) const;
  LockGuard take(std::vector<std::string> keys, const std::string& holder);

  mutable std::mutex mutex_;
  std::condition_variable_any freed_;
  std::map<std::string, std::string> holders_;  // guarded by mutex_
};

}  // namespace cairn::parallel
