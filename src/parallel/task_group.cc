#include "parallel/task_group.h"

#include <exception>
#include <string>
#include <utility>

namespace cairn::parallel {

TaskGroup::TaskGroup(const std::stop_token& parent, std::function<void()> on_stop)
    : on_stop_(std::move(on_stop)) {
  own_callback_.emplace(stop_.get_token(), std::function<void()>([this] {
                          if (on_stop_) on_stop_();
                        }));
  parent_callback_.emplace(parent, std::function<void()>([this] {
                             {
                               const std::scoped_lock lock(mutex_);
                               cancelled_ = true;
                             }
                             stop_.request_stop();
                           }));
}

TaskGroup::~TaskGroup() {
  parent_callback_.reset();
  if (!threads_.empty()) stop_.request_stop();
  threads_.clear();
}

void TaskGroup::fail(Error error) {
  {
    const std::scoped_lock lock(mutex_);
    if (!first_error_) first_error_.emplace(std::move(error));
  }
  stop_.request_stop();
}

void TaskGroup::run(std::function<Status(std::stop_token)> task) {
  threads_.emplace_back([this, task = std::move(task)] {
    try {
      Status status = task(stop_.get_token());
      if (!status.ok()) fail(status.error());
    } catch (const std::exception& e) {
      fail(Error(Code::kInternal, std::string("a task threw: ") + e.what()));
    }
  });
}

Status TaskGroup::wait() {
  threads_.clear();  // jthread joins
  const std::scoped_lock lock(mutex_);
  // A cancelled task may report how it was cut short; the stop is what happened.
  if (cancelled_) return Error(Code::kCancelled, "cancelled");
  if (first_error_) return *first_error_;
  return {};
}

}  // namespace cairn::parallel
