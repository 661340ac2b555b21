// Queues, groups and guarded values under several threads.
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "parallel/bounded_queue.h"
#include "parallel/guarded.h"
#include "parallel/sleep.h"
#include "parallel/task_group.h"

namespace cairn::parallel {
namespace {

TEST(BoundedQueue, DeliversEveryItemOnceThroughASmallQueue) {
  BoundedQueue<int> queue(2);
  Guarded<std::vector<int>> seen;
  TaskGroup group;
  for (int i = 0; i < 3; ++i) {
    group.run([&](std::stop_token) -> Status {
      while (auto item = queue.pop()) seen.lock()->push_back(*item);
      return {};
    });
  }
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(queue.push(i));
  queue.close();
  ASSERT_TRUE(group.wait().ok());
  const std::vector<int> all = *seen.lock();
  EXPECT_EQ(all.size(), 1000U);
  EXPECT_EQ(std::accumulate(all.begin(), all.end(), 0), 499500);
}

TEST(BoundedQueue, RefusesAfterCloseAndStillGivesWhatIsLeft) {
  BoundedQueue<int> queue(4);
  ASSERT_TRUE(queue.push(1));
  queue.close();
  EXPECT_FALSE(queue.push(2));
  EXPECT_EQ(queue.pop(), std::optional<int>(1));
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, TryPushLeavesTheItemWhereThereIsNoRoom) {
  BoundedQueue<std::string> queue(1);
  std::string first = "first";
  std::string second = "second";
  ASSERT_TRUE(queue.try_push(first));
  EXPECT_FALSE(queue.try_push(second));
  EXPECT_EQ(second, "second");
}

TEST(TaskGroup, FirstErrorStopsTheOthersAndIsReturned) {
  BoundedQueue<int> queue(1);
  TaskGroup group({}, [&] { queue.close(); });
  group.run([&](std::stop_token) -> Status {
    while (queue.pop()) {
    }
    return {};
  });
  group.run([](std::stop_token) -> Status { return Error(Code::kNoSpace, "full"); });
  EXPECT_EQ(group.wait().error().code(), Code::kNoSpace);
  EXPECT_TRUE(group.stop_token().stop_requested());
}

TEST(TaskGroup, AnExceptionIsAnErrorAndAParentsStopIsCancelled) {
  TaskGroup throwing;
  throwing.run([](std::stop_token) -> Status { throw std::runtime_error("x"); });
  EXPECT_EQ(throwing.wait().error().code(), Code::kInternal);

  std::stop_source parent;
  BoundedQueue<int> queue(1);
  TaskGroup group(parent.get_token(), [&] { queue.close(); });
  group.run([&](std::stop_token) -> Status {
    while (queue.pop()) {
    }
    return {};
  });
  parent.request_stop();
  EXPECT_EQ(group.wait().error().code(), Code::kCancelled);
}

TEST(SleepUnlessStopped, LastsAsLongAsItShouldOrUntilAStop) {
  using std::chrono::milliseconds;
  const auto begun = std::chrono::steady_clock::now();
  sleep_unless_stopped({}, milliseconds(20));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(20));
  std::stop_source stop;
  const std::jthread stopper([&stop] { stop.request_stop(); });
  sleep_unless_stopped(stop.get_token(), std::chrono::hours(24));
  EXPECT_TRUE(stop.stop_requested());
}

TEST(Guarded, WaitsUntilTheValueIsReady) {
  Guarded<int> value(0);
  std::condition_variable changed;
  TaskGroup group;
  group.run([&](std::stop_token) -> Status {
    *value.lock() = 7;
    changed.notify_all();
    return {};
  });
  auto access = value.lock();
  access.wait(changed, [](int v) { return v == 7; });
  EXPECT_EQ(*access, 7);
}

}  // namespace
}  // namespace cairn::parallel
