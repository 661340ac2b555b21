#include "catalog/events.h"

#include <atomic>
#include <stop_token>
#include <string>
#include <thread>

#include "catalog/test_data.h"

namespace cairn::catalog {
namespace {

using EventsTest = CatalogTest;

constexpr std::int64_t kLongMs = 60'000;  // never waited out: the test ends before or fails

TEST_F(EventsTest, ComeInOrderAndByWorkload) {
  EventTable& table = catalog_->events();
  const auto first = table.append({.kind = "deploy.done", .workload_id = "wl_a", .message = "one"});
  const auto second =
      table.append({.kind = "restore.done", .workload_id = "wl_b", .message = "two"});
  const auto third =
      table.append({.kind = "deploy.done", .workload_id = "wl_a", .message = "three"});
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_LT(*first, *second);
  EXPECT_LT(*second, *third);
  EXPECT_EQ(table.list(0, "", 10).value_or({}).size(), 3U);
  EXPECT_EQ(table.list(*first, "", 10).value_or({}).size(), 2U);
  EXPECT_EQ(table.list(*first, "", 1).value_or({}).front().message, "two");
  EXPECT_EQ(table.list(0, "wl_a", 10).value_or({}).size(), 2U);
  const auto newest = table.list_newest("", 2);
  ASSERT_TRUE(newest.ok());
  ASSERT_EQ(newest->size(), 2U);
  EXPECT_EQ(newest->front().id, *second);
  EXPECT_EQ(newest->back().id, *third);
}

TEST_F(EventsTest, AreBoundedInSizeAndMadePrintable) {
  EventTable& table = catalog_->events();
  ASSERT_TRUE(table.append({.kind = "k", .message = "line\n" + std::string(100'000, 'x')}).ok());
  const auto events = table.list(0, "", 1);
  ASSERT_TRUE(events.ok());
  EXPECT_LE(events->front().message.size(), kEventMessageBytesMax + 8);
  EXPECT_EQ(events->front().message.find('\n'), std::string::npos);
  const std::string long_data(kEventDataBytesMax + 1, ' ');
  EXPECT_EQ(table.append({.kind = "k", .data_json = long_data}).error().code(), Code::kInvalid);
}

TEST_F(EventsTest, WakeWhoeverWaits) {
  EventTable& table = catalog_->events();
  std::thread appender([&table] {
    EXPECT_TRUE(table.append({.kind = "other", .workload_id = "wl_b"}).ok());
    EXPECT_TRUE(table.append({.kind = "mine", .workload_id = "wl_a"}).ok());
  });
  const auto events = table.wait_new(0, "wl_a", kLongMs);
  appender.join();
  ASSERT_TRUE(events.ok());
  ASSERT_EQ(events->size(), 1U);
  EXPECT_EQ(events->front().kind, "mine");
}

TEST_F(EventsTest, WaitEndsAtItsTimeoutAndWhenAskedToStop) {
  EventTable& table = catalog_->events();
  EXPECT_TRUE(table.wait_new(0, "", 0).value_or({{}}).empty());
  EXPECT_TRUE(table.wait_new(0, "", 1).value_or({{}}).empty());
  std::stop_source stop;
  std::thread stopper([&stop] { stop.request_stop(); });
  EXPECT_TRUE(table.wait_new(0, "", kLongMs, stop.get_token()).value_or({{}}).empty());
  stopper.join();
}

TEST_F(EventsTest, AreSeenOnlyOnceTheirTransactionIs) {
  EventTable& table = catalog_->events();
  const Status failed = catalog_->atomically([&table]() -> Status {
    TRY_ASSIGN(const std::int64_t id, table.append({.kind = "undone"}));
    EXPECT_GT(id, 0);
    return Error(Code::kUnavailable, "no");
  });
  EXPECT_FALSE(failed.ok());
  EXPECT_TRUE(table.wait_new(0, "", 1).value_or({{}}).empty());
}

}  // namespace
}  // namespace cairn::catalog
