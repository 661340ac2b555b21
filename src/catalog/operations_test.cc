#include "catalog/operations.h"

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catalog/test_data.h"

namespace cairn::catalog {
namespace {

constexpr std::int64_t kNeverMs = 60'000;  // never waited out: the test ends before or fails

// A door that bodies wait at until the test opens it.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// Blocks until the token is asked to stop.
void wait_for_stop(const std::stop_token& token) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, token, [] { return false; });
}

class OperationsTest : public CatalogTest {
 protected:
  static OperationSpec spec() {
    return {.kind = "snapshot.create", .workload_id = "wl_web", .actor = "uid:0"};
  }
  [[nodiscard]] OperationRow stored(const std::string& id) const {
    return catalog_->operations().find(id).value_or(std::nullopt).value_or(OperationRow());
  }
};

TEST_F(OperationsTest, EndWithTheirResult) {
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [](OperationContext& context) -> Result<std::string> {
    context.phase("store");
    context.count({.bytes_done = 5, .bytes_total = 10});
    context.warn("one socket skipped");
    return std::string(R"({"id":"snap_1"})");
  });
  ASSERT_TRUE(id.ok());
  const auto row = operations.wait(*id);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->state, OperationState::kDone);
  EXPECT_EQ(outcome(*row).value_or(""), R"({"id":"snap_1"})");
  EXPECT_EQ(row->phase, "store");
  EXPECT_EQ(row->progress.bytes_done, 5U);
  EXPECT_EQ(row->warnings, std::vector<std::string>{"one socket skipped"});
  EXPECT_GT(row->finished_ms, 0);
  EXPECT_EQ(row->actor, "uid:0");
  // Whoever heard of the end finds it in the catalog.
  EXPECT_EQ(stored(*id).state, OperationState::kDone);
  EXPECT_EQ(stored(*id).warnings.size(), 1U);
}

TEST_F(OperationsTest, EndWithTheirWholeError) {
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [](OperationContext&) -> Result<std::string> {
    ErrorDetail detail;
    detail.reasons = {{.target = "/data", .code = "gone", .detail = "no such volume"}};
    return Error(Code::kRefused, "refused", detail);
  });
  const auto thrown = operations.start(spec(), [](OperationContext&) -> Result<std::string> {
    throw std::runtime_error("from a library");
  });
  ASSERT_TRUE(id.ok() && thrown.ok());
  const auto row = operations.wait(*id);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->state, OperationState::kFailed);
  const auto result = outcome(*row);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), Code::kRefused);
  EXPECT_EQ(result.error().detail().reasons.size(), 1U);
  const auto other = operations.wait(*thrown);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(outcome(*other).error().code(), Code::kInternal);
}

TEST_F(OperationsTest, RowIsThereBeforeTheBodyRuns) {
  Operations operations(*catalog_);
  const auto id =
      operations.start(spec(), [this](OperationContext& context) -> Result<std::string> {
        EXPECT_EQ(stored(context.id()).state, OperationState::kRunning);
        return std::string("{}");
      });
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(operations.wait(*id).ok());
}

TEST_F(OperationsTest, CancelReachesTheBody) {
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [](OperationContext& context) -> Result<std::string> {
    wait_for_stop(context.stop_token());
    EXPECT_EQ(context.forbid_cancel().error().code(), Code::kCancelled) << "too late to go on";
    return Error(Code::kCancelled, "cancelled");
  });
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(operations.cancel(*id).ok());
  EXPECT_EQ(operations.wait(*id).value_or({}).state, OperationState::kCancelled);
  EXPECT_EQ(operations.cancel(*id).error().code(), Code::kConflict);
  EXPECT_EQ(operations.cancel("op_absent").error().code(), Code::kNotFound);
}

TEST_F(OperationsTest, CancelIsRefusedPastThePointOfNoReturn) {
  Gate forbidden;
  Gate may_end;
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [&](OperationContext& context) -> Result<std::string> {
    EXPECT_TRUE(context.forbid_cancel().ok());
    forbidden.open();
    may_end.wait();
    EXPECT_FALSE(context.stop_token().stop_requested());
    return std::string("{}");
  });
  ASSERT_TRUE(id.ok());
  forbidden.wait();
  EXPECT_EQ(operations.cancel(*id).error().code(), Code::kConflict);
  may_end.open();
  EXPECT_EQ(operations.wait(*id).value_or({}).state, OperationState::kDone);
}

TEST_F(OperationsTest, EndOfTheDaemonStopsWhatMayStopAndWaitsForTheRest) {
  std::string stoppable;
  std::string committed;
  {
    Gate forbidden;
    Operations operations(*catalog_);
    stoppable = operations
                    .start(spec(),
                           [](OperationContext& context) -> Result<std::string> {
                             wait_for_stop(context.stop_token());
                             return Error(Code::kCancelled, "stopped");
                           })
                    .value_or("");
    committed = operations
                    .start(spec(),
                           [&forbidden](OperationContext& context) -> Result<std::string> {
                             EXPECT_TRUE(context.forbid_cancel().ok());
                             forbidden.open();
                             wait_for_stop(context.ending_token());
                             EXPECT_FALSE(context.stop_token().stop_requested());
                             return std::string("{}");
                           })
                    .value_or("");
    forbidden.wait();
    operations.begin_shutdown();
    const auto refused = operations.start(
        spec(), [](OperationContext&) -> Result<std::string> { return std::string("{}"); });
    EXPECT_EQ(refused.error().code(), Code::kUnavailable);
  }
  EXPECT_EQ(stored(stoppable).state, OperationState::kInterrupted);
  EXPECT_EQ(stored(committed).state, OperationState::kDone);
}

TEST_F(OperationsTest, ChangesReachWhoeverWaits) {
  Gate may_go_on;
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [&](OperationContext& context) -> Result<std::string> {
    may_go_on.wait();
    context.phase("stage");
    return std::string("{}");
  });
  ASSERT_TRUE(id.ok());
  auto change = operations.wait_change(*id, 0, kNeverMs);
  ASSERT_TRUE(change.ok());
  EXPECT_EQ(change->row.state, OperationState::kRunning);
  const auto unchanged = operations.wait_change(*id, change->version, 1);
  ASSERT_TRUE(unchanged.ok());
  EXPECT_EQ(unchanged->version, change->version);
  may_go_on.open();
  while (change->row.state == OperationState::kRunning) {
    const std::uint64_t before = change->version;
    change = operations.wait_change(*id, before, kNeverMs);
    ASSERT_TRUE(change.ok());
    ASSERT_NE(change->version, before);
  }
  EXPECT_EQ(change->row.phase, "stage");
  EXPECT_TRUE(operations.wait_change(*id, change->version, kNeverMs).ok()) << "returns at once";
  EXPECT_EQ(operations.wait_change("op_absent", 0, 0).error().code(), Code::kNotFound);
  EXPECT_EQ(operations.wait("op_absent").error().code(), Code::kNotFound);
}

TEST_F(OperationsTest, AreBoundedInNumber) {
  Gate may_end;
  Operations operations(*catalog_);
  const Operations::Body body = [&may_end](OperationContext&) -> Result<std::string> {
    may_end.wait();
    return std::string("{}");
  };
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < kOperationsRunningMax; ++i) {
    const auto id = operations.start(spec(), body);
    ASSERT_TRUE(id.ok());
    ids.push_back(*id);
  }
  EXPECT_EQ(operations.running(), kOperationsRunningMax);
  EXPECT_EQ(operations.start(spec(), body).error().code(), Code::kUnavailable);
  EXPECT_EQ(catalog_->operations().list("", 1000).value_or({}).size(), kOperationsRunningMax)
      << "a refused one leaves no row";
  may_end.open();
  for (const std::string& id : ids) EXPECT_TRUE(operations.wait(id).ok());
  EXPECT_EQ(operations.running(), 0U);
  EXPECT_TRUE(operations.start(spec(), body).ok());
}

TEST_F(OperationsTest, ListShowsWhatRunsAsItIsNow) {
  Gate in_phase;
  Gate may_end;
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [&](OperationContext& context) -> Result<std::string> {
    context.phase("exchange");
    in_phase.open();
    may_end.wait();
    return std::string("{}");
  });
  ASSERT_TRUE(id.ok());
  in_phase.wait();
  const auto rows = operations.list("wl_web", 10);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ(rows->front().phase, "exchange");
  EXPECT_EQ(operations.find(*id).value_or(std::nullopt)->phase, "exchange");
  EXPECT_TRUE(operations.list("wl_other", 10).value_or({{}}).empty());
  may_end.open();
}

TEST_F(OperationsTest, WarningsAreBounded) {
  Operations operations(*catalog_);
  const auto id = operations.start(spec(), [](OperationContext& context) -> Result<std::string> {
    for (std::size_t i = 0; i < kOperationWarningsMax + 50; ++i) context.warn("again\nand again");
    return std::string("{}");
  });
  ASSERT_TRUE(id.ok());
  const auto row = operations.wait(*id);
  ASSERT_TRUE(row.ok());
  EXPECT_EQ(row->warnings.size(), kOperationWarningsMax);
  EXPECT_NE(row->warnings.back().find("more warnings"), std::string::npos);
  EXPECT_EQ(row->warnings.front(), "again\\x0aand again");
}

TEST_F(OperationsTest, WhatACrashCutOffIsInterruptedAtTheNextStart) {
  OperationRow row;
  row.id = "op_1";
  row.kind = "snapshot.restore";
  row.started_ms = 5;
  ASSERT_TRUE(catalog_->operations().insert(row).ok());
  row.phase = "exchange";
  row.progress.items_done = 2;
  ASSERT_TRUE(catalog_->operations().note_progress(row).ok());
  reopen();
  ASSERT_EQ(catalog_->interrupted().size(), 1U);
  EXPECT_EQ(catalog_->interrupted().front().id, "op_1");
  const OperationRow after = stored("op_1");
  EXPECT_EQ(after.state, OperationState::kInterrupted);
  EXPECT_EQ(after.progress.items_done, 2U);
  EXPECT_NE(outcome(after).error().message().find("exchange"), std::string::npos);
  row.phase = "late";
  ASSERT_TRUE(catalog_->operations().note_progress(row).ok());
  EXPECT_EQ(stored("op_1").phase, "exchange") << "progress never changes a row that has ended";
  reopen();
  EXPECT_TRUE(catalog_->interrupted().empty());
}

TEST_F(OperationsTest, OldOnesAreTrimmedButNeverARunningOne) {
  const Status filled = catalog_->atomically([this]() -> Status {
    for (std::int64_t i = 0; i < kOperationsFinishedMax + 20; ++i) {
      OperationRow row;
      row.id = "op_" + std::to_string(100'000 + i);
      row.state = i == 0 ? OperationState::kRunning : OperationState::kDone;
      TRY(catalog_->operations().insert(row));
    }
    return {};
  });
  ASSERT_TRUE(filled.ok());
  EXPECT_EQ(stored("op_100000").state, OperationState::kRunning);
  EXPECT_EQ(stored("op_100001").id, "") << "the oldest finished one is gone";
  EXPECT_EQ(stored("op_102019").id, "op_102019");
}

}  // namespace
}  // namespace cairn::catalog
