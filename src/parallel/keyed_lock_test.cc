#include "parallel/keyed_lock.h"

#include <gtest/gtest.h>

#include <thread>

namespace cairn::parallel {
namespace {

TEST(LockTable, TakesAllKeysOrNone) {
  LockTable table;
  auto first = table.try_lock({"b", "a"}, "op_1");
  ASSERT_TRUE(first.ok());
  const auto second = table.try_lock({"c", "b"}, "op_2");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), Code::kBusy);
  EXPECT_EQ(second.error().detail().holder, "op_1");
  EXPECT_EQ(table.holder("c"), "");
  first->release();
  EXPECT_TRUE(table.try_lock({"c", "b"}, "op_2").ok());
}

TEST(LockTable, IsHandedOverWithoutBeingFree) {
  LockTable table;
  auto held = table.try_lock({"a", "b"}, "op_1");
  ASSERT_TRUE(held.ok());
  held->hand_over("recovering");
  const auto second = table.try_lock({"a"}, "op_2");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().detail().holder, "recovering");
  held->release();
  EXPECT_EQ(table.holder("a"), "");
}

TEST(LockTable, WaitersGetTheLockOrAreCancelled) {
  LockTable table;
  auto held = table.try_lock({"a"}, "op_1");
  ASSERT_TRUE(held.ok());
  std::stop_source stop;
  Status seen;
  std::jthread cancelled([&] {
    auto got = table.lock({"a"}, "op_2", stop.get_token());
    if (!got.ok()) seen = got.error();
  });
  stop.request_stop();
  cancelled.join();
  EXPECT_EQ(seen.error().code(), Code::kCancelled);

  bool got_it = false;
  std::jthread waiter([&] { got_it = table.lock({"a"}, "op_3", {}).ok(); });
  held->release();
  waiter.join();
  EXPECT_TRUE(got_it);
}

}  // namespace
}  // namespace cairn::parallel
