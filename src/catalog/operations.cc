// The threads of operations. Locks, in this order: Shared::mutex, then one Running's own; neither
// is held while the catalog is written.
#include "catalog/operations.h"

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "catalog/catalog.h"
#include "catalog/error_json.h"
#include "catalog/json.h"

namespace cairn::catalog {

namespace {

constexpr std::uint64_t kVersionOfEnded = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kWarningBytesMax = 1000;

Error no_such_operation(std::string_view id) {
  return {Code::kNotFound, fmt::format("there is no operation {}", printable(id))};
}

}  // namespace

// One operation from start() until its thread is joined and its end is written.
class Operations::Running final : public OperationContext {
 public:
  explicit Running(OperationRow row) : id_(row.id), row_(std::move(row)) {}

  // What the body uses.
  const std::string& id() const override { return id_; }
  std::stop_token stop_token() const override { return stop_.get_token(); }
  std::stop_token ending_token() const override { return ending_.get_token(); }
  void phase(std::string_view name) override;
  void count(const Count& count) override;
  void warn(std::string_view text) override;
  Status forbid_cancel() override;

  // What Operations uses.
  [[nodiscard]] OperationRow row() const;
  [[nodiscard]] bool ended() const;
  Status cancel();
  void begin_ending();
  OperationRow wait_end();
  Change wait_change(std::uint64_t version, std::int64_t timeout_ms);
  // The row when it changed since the last call and still runs.
  std::optional<OperationRow> take_unwritten();
  // The row as the body's result leaves it; not yet visible to anybody.
  [[nodiscard]] OperationRow finished_row(const Result<std::string>& result) const;
  // Makes it visible and wakes who waits. written: the catalog has it.
  void end(OperationRow row, bool written);
  [[nodiscard]] bool written() const;
  void set_written();

  std::thread thread;  // guarded by Shared::mutex; joined by the keeper or ~Operations

 private:
  const std::string id_;
  std::stop_source stop_;
  std::stop_source ending_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // All below guarded by mutex_.
  OperationRow row_;
  std::uint64_t version_ = 1;
  bool unwritten_ = false;  // of progress
  bool cancellable_ = true;
  bool cancelled_ = false;  // by a person
  bool asked_to_stop_ = false;
  bool ended_ = false;
  bool written_ = false;
};

void Operations::Running::phase(std::string_view name) {
  const std::lock_guard lock(mutex_);
  row_.phase = name;
  row_.progress = {};
  unwritten_ = true;
  ++version_;
  changed_.notify_all();
}

void Operations::Running::count(const Count& count) {
  const std::lock_guard lock(mutex_);
  row_.progress = count;
  unwritten_ = true;
  ++version_;
  changed_.notify_all();
}

void Operations::Running::warn(std::string_view text) {
  const std::string line = printable(text, kWarningBytesMax);
  log::warn("{}: {}", id_, line);
  const std::lock_guard lock(mutex_);
  if (row_.warnings.size() >= kOperationWarningsMax) return;
  row_.warnings.push_back(row_.warnings.size() + 1 < kOperationWarningsMax
                              ? line
                              : "there are more warnings: the daemon's log has them");
  unwritten_ = true;
  ++version_;
  changed_.notify_all();
}

Status Operations::Running::forbid_cancel() {
  const std::lock_guard lock(mutex_);
  if (asked_to_stop_) {
    return Error(Code::kCancelled, cancelled_ ? "cancelled" : "the daemon ends");
  }
  cancellable_ = false;
  return {};
}

OperationRow Operations::Running::row() const {
  const std::lock_guard lock(mutex_);
  return row_;
}

bool Operations::Running::ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

Status Operations::Running::cancel() {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return Error(Code::kConflict, fmt::format("operation {} has ended", id_));
    if (!cancellable_) {
      return Error(Code::kConflict,
                   fmt::format("operation {} is past its point of no return", id_));
    }
    cancelled_ = true;
    asked_to_stop_ = true;
  }
  // Outside the lock: callbacks of the token run here.
  stop_.request_stop();
  return {};
}

void Operations::Running::begin_ending() {
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    stop = cancellable_ && !ended_;
    asked_to_stop_ = asked_to_stop_ || stop;
  }
  if (stop) stop_.request_stop();
  ending_.request_stop();
}

OperationRow Operations::Running::wait_end() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_; });
  return row_;
}

Operations::Change Operations::Running::wait_change(std::uint64_t version,
                                                    std::int64_t timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this, version] { return ended_ || version_ != version; });
  return {.version = version_, .row = row_};
}

std::optional<OperationRow> Operations::Running::take_unwritten() {
  const std::lock_guard lock(mutex_);
  if (ended_ || !std::exchange(unwritten_, false)) return std::nullopt;
  return row_;
}

OperationRow Operations::Running::finished_row(const Result<std::string>& result) const {
  const std::lock_guard lock(mutex_);
  OperationRow row = row_;
  row.finished_ms = wall_ms();
  if (result.ok()) {
    row.state = OperationState::kDone;
    row.result_json = result.value();
    return row;
  }
  const Error& error = result.error();
  row.state = OperationState::kFailed;
  if (error.code() == Code::kCancelled) {
    row.state =
        asked_to_stop_ && !cancelled_ ? OperationState::kInterrupted : OperationState::kCancelled;
  }
  row.error_json = dump(error_to_json(error));
  return row;
}

void Operations::Running::end(OperationRow row, bool written) {
  const std::lock_guard lock(mutex_);
  // A late warning of a thread that the body left behind would be lost otherwise.
  row.warnings = row_.warnings;
  row_ = std::move(row);
  ended_ = true;
  written_ = written;
  ++version_;
  changed_.notify_all();
}

bool Operations::Running::written() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

void Operations::Running::set_written() {
  const std::lock_guard lock(mutex_);
  written_ = true;
}

struct Operations::Shared {
  explicit Shared(Catalog& the_catalog) : catalog(the_catalog) {}

  using RunningPtr = std::shared_ptr<Running>;

  RunningPtr find(const std::string& id) const {
    const std::lock_guard lock(mutex);
    const auto at = running.find(id);
    return at == running.end() ? nullptr : at->second;
  }
  std::vector<RunningPtr> all() const {
    const std::lock_guard lock(mutex);
    std::vector<RunningPtr> list;
    for (const auto& [id, one] : running) list.push_back(one);
    return list;
  }
  std::size_t count_running() const;  // mutex is held
  Status write_end(const OperationRow& row);
  void run(const RunningPtr& one, const Body& body);
  void keep();
  void keep_one(const RunningPtr& one);

  Catalog& catalog;
  mutable std::mutex mutex;
  std::condition_variable wake;               // of the keeper
  std::map<std::string, RunningPtr> running;  // guarded by mutex
  bool ending = false;                        // guarded by mutex: no new operations
  bool keeper_ends = false;                   // guarded by mutex
  std::thread keeper;
};

std::size_t Operations::Shared::count_running() const {
  std::size_t count = 0;
  for (const auto& [id, one] : running) count += one->ended() ? 0U : 1U;
  return count;
}

Status Operations::Shared::write_end(const OperationRow& row) {
  const Status status = catalog.operations().update(row);
  if (!status.ok()) log::error("write the end of {}: {}", row.id, status.error().message());
  return status;
}

// The body of an operation's thread.
void Operations::Shared::run(const RunningPtr& one, const Body& body) {
  Result<std::string> result = Error(Code::kInternal, "the operation ended without a result");
  try {
    result = body(*one);
  } catch (const std::exception& thrown) {
    // Ours do not throw; what a library threw must not end the daemon.
    result = Error(Code::kInternal, fmt::format("unexpected exception: {}", thrown.what()));
  }
  OperationRow row = one->finished_row(result);
  if (!result.ok() && row.state == OperationState::kFailed) {
    log::error("{} ({}) failed: {}", row.id, row.kind, result.error().message());
  }
  // Durable before anybody hears of it.
  const Status written = write_end(row);
  one->end(std::move(row), written.ok());
}

// The keeper's thread: writes progress now and then, and forgets what has ended.
void Operations::Shared::keep() {
  while (true) {
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [this] { return keeper_ends || !running.empty(); });
      wake.wait_for(lock, std::chrono::milliseconds(kProgressWriteIntervalMs),
                    [this] { return keeper_ends; });
      if (keeper_ends) return;
    }
    for (const RunningPtr& one : all()) keep_one(one);
  }
}

void Operations::Shared::keep_one(const RunningPtr& one) {
  if (const auto row = one->take_unwritten()) {
    const Status noted = catalog.operations().note_progress(*row);
    if (!noted.ok()) log::warn("note the progress of {}: {}", row->id, noted.error().message());
  }
  if (!one->ended()) return;
  // A disk that was full at the end may have room by now.
  if (!one->written()) {
    if (!write_end(one->row()).ok()) return;
    one->set_written();
  }
  std::thread done;
  {
    const std::lock_guard lock(mutex);
    done = std::move(one->thread);
    running.erase(one->id());
  }
  if (done.joinable()) done.join();
}

Operations::Operations(Catalog& catalog) : shared_(std::make_unique<Shared>(catalog)) {
  shared_->keeper = std::thread([shared = shared_.get()] { shared->keep(); });
}

Operations::~Operations() {
  begin_shutdown();
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->keeper_ends = true;
  }
  shared_->wake.notify_all();
  shared_->keeper.join();
  for (const auto& one : shared_->all()) {
    if (one->thread.joinable()) one->thread.join();
  }
}

Result<std::string> Operations::start(const OperationSpec& spec, Body body) {
  OperationRow row;
  row.id = ids::make(ids::kOperation);
  row.kind = spec.kind;
  row.workload_id = spec.workload_id;
  row.actor = spec.actor;
  row.started_ms = wall_ms();
  const auto one = std::make_shared<Running>(row);

  // 1. A place among the running ones.
  {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->ending) return Error(Code::kUnavailable, "the daemon ends");
    if (shared_->count_running() >= kOperationsRunningMax) {
      return Error(Code::kUnavailable, fmt::format("{} operations run already, try again later",
                                                   kOperationsRunningMax));
    }
    shared_->running.emplace(row.id, one);
  }

  // 2. The row, durable before the body has any effect.
  Status inserted = shared_->catalog.operations().insert(row);
  if (!inserted.ok() && inserted.error().code() == Code::kNoSpace && spec.may_use_reserve) {
    log::warn("{}: {}; the reserve file is given up", row.id, inserted.error().message());
    inserted = shared_->catalog.release_reserve();
    if (inserted.ok()) inserted = shared_->catalog.operations().insert(row);
  }
  if (!inserted.ok()) {
    const std::lock_guard lock(shared_->mutex);
    shared_->running.erase(row.id);
    return inserted.error();
  }

  // 3. The thread. The lock keeps the keeper from looking at a half-made one.
  Status started;
  {
    const std::lock_guard lock(shared_->mutex);
    try {
      one->thread = std::thread(
          [shared = shared_.get(), one, body = std::move(body)] { shared->run(one, body); });
    } catch (const std::system_error& thrown) {
      started = Error(Code::kUnavailable, fmt::format("start a thread: {}", thrown.what()));
    }
  }
  shared_->wake.notify_all();
  if (!started.ok()) {
    OperationRow failed = one->finished_row(started.error());
    const Status written = shared_->write_end(failed);
    one->end(std::move(failed), written.ok());
    return started.error();
  }
  return row.id;
}

Result<OperationRow> Operations::wait(const std::string& id) {
  if (const auto one = shared_->find(id)) return one->wait_end();
  TRY_ASSIGN(auto row, shared_->catalog.operations().find(id));
  if (!row) return no_such_operation(id);
  return std::move(*row);
}

Result<std::optional<OperationRow>> Operations::find(const std::string& id) {
  if (const auto one = shared_->find(id)) return std::optional<OperationRow>(one->row());
  return shared_->catalog.operations().find(id);
}

Result<std::vector<OperationRow>> Operations::list(const std::string& workload_id,
                                                   std::int64_t limit) {
  TRY_ASSIGN(auto rows, shared_->catalog.operations().list(workload_id, limit));
  for (OperationRow& row : rows) {
    if (row.state != OperationState::kRunning) continue;
    if (const auto one = shared_->find(row.id)) row = one->row();
  }
  return rows;
}

Status Operations::cancel(const std::string& id) {
  if (const auto one = shared_->find(id)) return one->cancel();
  TRY_ASSIGN(const auto row, shared_->catalog.operations().find(id));
  if (!row) return no_such_operation(id);
  return Error(Code::kConflict, fmt::format("operation {} has ended", id));
}

Result<Operations::Change> Operations::wait_change(const std::string& id,
                                                   std::uint64_t version,
                                                   std::int64_t timeout_ms) {
  if (const auto one = shared_->find(id)) return one->wait_change(version, timeout_ms);
  TRY_ASSIGN(auto row, shared_->catalog.operations().find(id));
  if (!row) return no_such_operation(id);
  return Change{.version = kVersionOfEnded, .row = std::move(*row)};
}

void Operations::begin_shutdown() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->ending = true;
  }
  for (const auto& one : shared_->all()) one->begin_ending();
}

std::size_t Operations::running() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->count_running();
}

}  // namespace cairn::catalog
