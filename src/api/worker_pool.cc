#include "api/worker_pool.h"

#include <exception>
#include <system_error>

#include "base/log.h"

namespace cairn::api {

bool WorkerPool::try_post(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return false;
  const bool all_taken = idle_ <= queue_.size();
  if (all_taken && threads_.size() < threads_max_) {
    try {
      threads_.emplace_back([this] { work(); });
      ++idle_;
    } catch (const std::system_error& failure) {
      log::warn("cannot start a thread: {}", failure.what());
      if (threads_.empty()) return false;
    }
  } else if (all_taken && queue_.size() - idle_ >= queued_max_) {
    return false;
  }
  queue_.push_back(std::move(job));
  ready_.notify_one();
  return true;
}

void WorkerPool::stop() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  ready_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

// A new thread counts as idle from the moment it is asked for, so that two posts in a row start
// two.
void WorkerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> job = std::move(queue_.front());
    queue_.pop_front();
    --idle_;
    lock.unlock();
    try {
      job();
    } catch (const std::exception& failure) {
      log::error("a request's thread threw: {}", failure.what());
    }
    job = nullptr;
    lock.lock();
    ++idle_;
  }
}

}  // namespace cairn::api
