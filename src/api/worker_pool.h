// WorkerPool: up to a fixed number of threads, each started when it is first needed, that run jobs
// and are joined by the destructor. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace cairn::api {

class WorkerPool {
 public:
  // At most queued_max jobs wait for a thread.
  WorkerPool(std::size_t threads_max, std::size_t queued_max)
      : threads_max_(threads_max), queued_max_(queued_max) {}
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool() { stop(); }

  // False where every thread is taken and the queue is full, or after stop(): the job does not run.
  bool try_post(std::function<void()> job);
  // Waits for running and queued jobs; no new ones are taken. May be called again.
  void stop();

 private:
  void work();

  const std::size_t threads_max_;
  const std::size_t queued_max_;
  std::mutex mutex_;
  std::condition_variable ready_;
  // Guarded by mutex_.
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace cairn::api
