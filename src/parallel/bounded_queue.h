// BoundedQueue<T>: a first-in first-out queue whose length is its back-pressure.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/check.h"

namespace cairn::parallel {

// Thread-safe. close() wakes everybody: push() then refuses, pop() empties what is left first.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) { CHECK(capacity > 0); }

  // Waits for room. False, with the item dropped, once the queue is closed.
  bool push(T item) {
    std::unique_lock lock(mutex_);
    ++pushers_;
    room_.wait(lock, [this] { return closed_ || items_.size() < capacity_; });
    --pushers_;
    if (closed_) return false;
    items_.push_back(std::move(item));
    lock.unlock();
    filled_.notify_one();
    return true;
  }

  // Takes the item only where there is room now; otherwise leaves it untouched and says false.
  bool try_push(T& item) {
    std::unique_lock lock(mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    lock.unlock();
    filled_.notify_one();
    return true;
  }

  // Waits for an item; nothing once the queue is closed and empty.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    filled_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    // Who waits for room gets half of it at once: to be woken for each item costs more than many.
    const bool wake = pushers_ != 0 && items_.size() <= capacity_ / 2;
    lock.unlock();
    if (wake) room_.notify_all();
    return item;
  }

  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    filled_.notify_all();
    room_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<T> items_;
  std::size_t pushers_ = 0;  // that wait for room
  bool closed_ = false;
};

}  // namespace cairn::parallel
