#include "parallel/keyed_lock.h"

#include <algorithm>

namespace cairn::parallel {

namespace {

std::vector<std::string> sorted_unique(std::vector<std::string> keys) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace

LockGuard::LockGuard(LockGuard&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), keys_(std::move(other.keys_)) {}

LockGuard& LockGuard::operator=(LockGuard&& other) noexcept {
  if (this != &other) {
    release();
    table_ = std::exchange(other.table_, nullptr);
    keys_ = std::move(other.keys_);
  }
  return *this;
}

LockGuard::~LockGuard() {
  release();
}

void LockGuard::release() {
  if (table_ != nullptr) std::exchange(table_, nullptr)->unlock(keys_);
}

void LockGuard::hand_over(const std::string& holder) {
  if (table_ != nullptr) table_->rename(keys_, holder);
}

const std::string* LockTable::find_taken(const std::vector<std::string>& keys) const {
  for (const std::string& key : keys) {
    const auto found = holders_.find(key);
    if (found != holders_.end()) return &found->second;
  }
  return nullptr;
}

LockGuard LockTable::take(std::vector<std::string> keys, const std::string& holder) {
  for (const std::string& key : keys) holders_[key] = holder;
  return {this, std::move(keys)};
}

void LockTable::rename(const std::vector<std::string>& keys, const std::string& holder) {
  const std::lock_guard lock(mutex_);
  for (const std::string& key : keys) holders_[key] = holder;
}

Result<LockGuard> LockTable::try_lock(std::vector<std::string> keys, const std::string& holder) {
  keys = sorted_unique(std::move(keys));
  const std::lock_guard lock(mutex_);
  if (const std::string* taken = find_taken(keys)) {
    ErrorDetail detail;
    detail.holder = *taken;
    return Error(Code::kBusy, "busy: held by " + *taken, std::move(detail));
  }
  return take(std::move(keys), holder);
}

Result<LockGuard> LockTable::lock(std::vector<std::string> keys,
                                  const std::string& holder,
                                  std::stop_token stop) {
  keys = sorted_unique(std::move(keys));
  std::unique_lock lock(mutex_);
  if (!freed_.wait(lock, stop, [&] { return find_taken(keys) == nullptr; })) {
    return Error(Code::kCancelled, "cancelled while waiting for a lock");
  }
  return take(std::move(keys), holder);
}

std::string LockTable::holder(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = holders_.find(key);
  return found == holders_.end() ? std::string() : found->second;
}

void LockTable::unlock(const std::vector<std::string>& keys) {
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& key : keys) holders_.erase(key);
  }
  freed_.notify_all();
}

}  // namespace cairn::parallel
