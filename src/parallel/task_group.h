// TaskGroup: threads with one owner. The first error stops the rest and is what wait() returns.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/result.h"

namespace cairn::parallel {

// run() and wait() belong to one thread; fail() and stop_token() are thread-safe. The destructor
// asks every task to stop and joins.
class TaskGroup {
 public:
  // parent: a stop asked there stops the group too, and wait() then returns kCancelled. on_stop
  // runs once, from any thread, when the group begins to stop: the place to close queues.
  explicit TaskGroup(const std::stop_token& parent = {}, std::function<void()> on_stop = {});
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts a thread. An exception that leaves the task becomes kInternal.
  void run(std::function<Status(std::stop_token)> task);
  // Records an error as if a task had failed with it.
  void fail(Error error);
  [[nodiscard]] std::stop_token stop_token() const { return stop_.get_token(); }
  // Joins all tasks; the first error, or kCancelled where the parent asked to stop.
  Status wait();

 private:
  std::stop_source stop_;
  std::mutex mutex_;
  std::optional<Error> first_error_;
  bool cancelled_ = false;
  std::vector<std::jthread> threads_;
  std::function<void()> on_stop_;
  std::optional<std::stop_callback<std::function<void()>>> own_callback_;
  std::optional<std::stop_callback<std::function<void()>>> parent_callback_;
};

}  // namespace cairn::parallel
