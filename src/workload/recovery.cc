#include "workload/recovery.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "os/fault.h"
#include "workload/containers.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

constexpr std::int64_t kRetryMsMax = 30'000;
constexpr std::int64_t kLookMs = 10'000;
constexpr std::int64_t kDownMsMax = 600'000;

bool is_up(docker::State state) {
  switch (state) {
    case docker::State::kRunning:
    case docker::State::kPaused:
    case docker::State::kRestarting:
      return true;
    case docker::State::kCreated:
    case docker::State::kExited:
    case docker::State::kDead:
    case docker::State::kRemoving:
      break;
  }
  return false;
}

}  // namespace

Recovery::Recovery(const Core& core)
    : core_(core), thread_([this](const std::stop_token& stop) { work(stop); }) {}

Recovery::~Recovery() {
  end();
}

void Recovery::end() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

Status Recovery::run() {
  TRY_ASSIGN(const std::vector<catalog::Workload> workloads, core_.catalog.workloads().list());
  for (const catalog::Workload& workload : workloads) {
    Entry entry;
    if (attempt(workload.id, entry)) continue;
    const std::lock_guard lock(mutex_);
    entries_.insert_or_assign(workload.id, std::move(entry));
    ++arrivals_;
    wake_.notify_all();
  }
  return {};
}

void Recovery::adopt(const std::string& workload_id, parallel::LockGuard guard) {
  guard.hand_over(std::string(parallel::kRecovering));
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[workload_id];
  entry.guard = std::move(guard);
  entry.owed = true;
  entry.next_try_ms = monotonic_ms() + core_.pace.recovery_retry_ms;
  ++arrivals_;
  wake_.notify_all();
}

std::vector<std::string> Recovery::pending() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, entry] : entries_) ids.push_back(id);
  if (in_progress_.has_value() && !entries_.contains(*in_progress_)) ids.push_back(*in_progress_);
  return ids;
}

void Recovery::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  std::int64_t next_look_ms = monotonic_ms() + kLookMs;
  while (!stop.stop_requested()) {
    if (monotonic_ms() >= next_look_ms) {
      lock.unlock();
      look();
      lock.lock();
      next_look_ms = monotonic_ms() + kLookMs;
    }
    const auto due = std::min_element(
        entries_.begin(), entries_.end(),
        [](const auto& a, const auto& b) { return a.second.next_try_ms < b.second.next_try_ms; });
    const std::int64_t now_ms = monotonic_ms();
    if (due == entries_.end() || due->second.next_try_ms > now_ms) {
      const std::int64_t wake_ms =
          due == entries_.end() ? next_look_ms : std::min(due->second.next_try_ms, next_look_ms);
      const std::int64_t wait_ms = std::max<std::int64_t>(wake_ms - now_ms, 0);
      const std::uint64_t seen = arrivals_;
      wake_.wait_for(lock, stop, std::chrono::milliseconds(wait_ms),
                     [this, seen] { return arrivals_ != seen; });
      continue;
    }
    auto node = entries_.extract(due);
    in_progress_ = node.key();
    lock.unlock();
    const bool finished = attempt(node.key(), node.mapped());
    lock.lock();
    in_progress_.reset();
    if (!finished) entries_.insert(std::move(node));
  }
}

void Recovery::look() {
  const auto workloads = core_.catalog.workloads().list();
  docker::ContainerFilter filter;
  filter.labels = {std::string(kLabelWorkloadId)};
  const auto containers = core_.engine.list_containers(filter);
  // An engine that is away is looked at again later; what waits for it is in entries_ already.
  if (!workloads.ok() || !containers.ok()) return;
  const auto runs = [&containers](const catalog::Instance& row) {
    return std::any_of(containers->begin(), containers->end(), [&row](const auto& one) {
      return one.name == row.container_name && is_up(one.state);
    });
  };
  for (const catalog::Workload& workload : *workloads) {
    if (workload.desired != catalog::Desired::kRunning) continue;
    if (!core_.locks.holder("workload:" + workload.id).empty()) continue;
    const auto rows = serving_rows(core_, workload.id);
    if (!rows.ok() || rows->empty()) continue;
    if (std::all_of(rows->begin(), rows->end(), runs)) {
      down_.erase(workload.id);
      continue;
    }
    Down& down = down_[workload.id];
    const std::int64_t now_ms = monotonic_ms();
    if (now_ms < down.next_ms) continue;
    down.wait_ms = std::clamp(down.wait_ms * 2, kLookMs, kDownMsMax);
    down.next_ms = now_ms + down.wait_ms;
    const std::lock_guard lock(mutex_);
    entries_.try_emplace(workload.id);
  }
}

bool Recovery::take_guard(const catalog::Workload& workload, Entry& entry) {
  if (entry.guard.has_value()) return true;
  // Its places may not resolve while the engine is away; the workload's own key is what counts.
  auto resolved = workload_keys(core_, workload);
  const std::vector<std::string> keys =
      resolved.ok() ? std::move(*resolved) : std::vector<std::string>{"workload:" + workload.id};
  auto guard = core_.locks.try_lock(keys, std::string(parallel::kRecovering));
  if (!guard.ok()) return false;
  entry.guard = std::move(guard).value();
  return true;
}

bool Recovery::attempt(const std::string& workload_id, Entry& entry) {
  const auto workload = core_.catalog.workloads().find(workload_id);
  if (!workload.ok()) {
    put_off(workload_id, entry, workload.error());
    return false;
  }
  if (!workload->has_value()) return true;  // removed meanwhile
  const auto unfinished = is_unfinished(core_, **workload);
  if (entry.told && !entry.guard.has_value() && unfinished.ok() && !*unfinished) {
    // Nothing of its own is left to finish: whoever wants it must not find it locked while all that
    // can be learned is that the engine is still away.
    if (const auto there = core_.engine.ping(); !there.ok()) {
      put_off(workload_id, entry, there.error());
      return false;
    }
  }
  if (!take_guard(**workload, entry)) {
    // A volume recovery works on it, or an operation that settles it first.
    entry.next_try_ms = monotonic_ms() + core_.pace.recovery_retry_ms;
    return false;
  }
  const auto settled = os::seeded(os::Bug::kRecoverySkipsStart)
                           ? finish_unfinished(core_, workload_id)
                           : settle(core_, workload_id);
  if (!settled.ok()) {
    put_off(workload_id, entry, settled.error());
    // What no operation was cut off in is served meanwhile: only its containers may need a start.
    if (unfinished.ok() && !*unfinished) entry.guard.reset();
    return false;
  }
  if (!settled->done.empty()) {
    tell(core_, "workload.recovered", workload_id, "",
         fmt::format("{}: {}", workload->value().name, fmt::join(settled->done, "; ")));
  } else if ((entry.told || entry.owed) && settled->problems.empty()) {
    const bool runs = workload->value().desired == catalog::Desired::kRunning;
    tell(core_, "workload.recovered", workload_id, "",
         fmt::format("{} {}, as it should", workload->value().name, runs ? "runs" : "is stopped"));
  }
  if (!settled->problems.empty()) {
    tell(core_, "workload.recovery_problem", workload_id, "",
         fmt::format("{}: {}", workload->value().name, fmt::join(settled->problems, "; ")));
  }
  entry.guard.reset();
  return true;
}

void Recovery::put_off(const std::string& workload_id, Entry& entry, const Error& error) {
  const bool engine_away = error.code() == Code::kUnavailable;
  entry.wait_ms =
      engine_away ? core_.pace.recovery_retry_ms : std::min(entry.wait_ms * 2, kRetryMsMax);
  entry.next_try_ms = monotonic_ms() + entry.wait_ms;
  if (entry.told) {
    log::debug("recovery of {} waits: {}", workload_id, error.message());
    return;
  }
  entry.told = true;
  tell(core_, "workload.recovery_waits", workload_id, "",
       fmt::format("recovery {}: {}", engine_away ? "waits for the engine" : "is tried again",
                   error.message()));
}

}  // namespace cairn::workload
