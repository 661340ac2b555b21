#include "repository/scan_ahead.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "repository/limits.h"

namespace cairn::repository {

namespace {

constexpr std::size_t kLevelsLookedAt = 16;  // from the deepest one up
// A thread that holds enough of one directory sleeps until that few are left: to wake it for each
// would cost more than a listing does.
constexpr std::size_t kWakeAtHeld = kAheadPerLevel / 4;

std::size_t entries_of(const Result<Listing>& listing) {
  return listing.ok() && listing->dir ? listing->dir->entries.size() : 0;
}

}  // namespace

ScanAhead::ScanAhead(const Lister& lister)
    : lister_(lister), group_({}, [this] {
        const std::scoped_lock lock(mutex_);
        stopped_ = true;
        done_.notify_all();
      }) {}

void ScanAhead::start() {
  const std::size_t threads =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax) - 1;
  for (std::size_t i = 0; i < threads; ++i) {
    group_.run([this](const std::stop_token& stop) {
      work(stop);
      return Status();
    });
  }
  started_ = true;
}

void ScanAhead::open(const std::shared_ptr<ScanDir>& dir, const std::vector<std::size_t>& slots) {
  auto level = std::make_unique<Level>();
  level->dir = dir;
  level->tasks.reserve(slots.size());
  for (const std::size_t slot : slots) level->tasks.push_back({.slot = slot, .listed = nullptr});
  const std::scoped_lock lock(mutex_);
  levels_.push_back(std::move(level));
  // The first one is the walk's own.
  if (slots.size() < 2) return;
  if (!started_) start();
  if (idle_ != 0) more_.notify_all();
}

std::unique_ptr<ScanAhead::Taken> ScanAhead::take() {
  std::unique_lock lock(mutex_);
  Level& level = *levels_.back();
  if (level.next == level.tasks.size()) {
    levels_.pop_back();
    // One more comes into view.
    if (idle_ != 0 && levels_.size() >= kLevelsLookedAt) more_.notify_all();
    return nullptr;
  }
  Task& task = level.tasks[level.next++];
  if (task.state == State::kWaiting) {
    task.state = State::kRunning;
    lock.unlock();
    return list(level, task.slot);
  }
  // Rather than wait, the walk lists what comes after.
  while (task.state != State::kDone && !stopped_) {
    Level* at = nullptr;
    Task* const other = begin_next(at);
    if (other == nullptr) {
      done_.wait(lock);
    } else {
      list_ahead(lock, *at, *other);
    }
  }
  if (task.state != State::kDone) {
    lock.unlock();
    const Status failed = group_.wait();
    return std::make_unique<Taken>(
        task.slot, failed.ok() ? Error(Code::kInternal, "a listing ended") : failed.error());
  }
  --level.held;
  --held_dirs_;
  held_entries_ -= entries_of(task.listed->listing);
  if (idle_ != 0 && level.held <= kWakeAtHeld) more_.notify_all();
  return std::move(task.listed);
}

std::unique_ptr<ScanAhead::Taken> ScanAhead::list(const Level& level, std::size_t slot) const {
  return std::make_unique<Taken>(slot, lister_.list_child(level.dir, level.dir->entries[slot]));
}

// The directory that the walk comes to next among those that nobody lists; null: none, or enough
// is held.
ScanAhead::Task* ScanAhead::begin_next(Level*& level) {
  if (held_dirs_ >= kAheadDirsMax || held_entries_ > kAheadEntriesMax) return nullptr;
  const std::size_t looked_at = std::min(levels_.size(), kLevelsLookedAt);
  for (std::size_t i = 0; i < looked_at; ++i) {
    level = levels_[levels_.size() - 1 - i].get();
    if (level->held >= kAheadPerLevel) continue;
    level->ahead = std::max(level->ahead, level->next);
    while (level->ahead < level->tasks.size()) {
      Task& task = level->tasks[level->ahead++];
      if (task.state != State::kWaiting) continue;
      task.state = State::kRunning;
      ++level->held;
      ++held_dirs_;
      return &task;
    }
  }
  return nullptr;
}

void ScanAhead::list_ahead(std::unique_lock<std::mutex>& lock, const Level& level, Task& task) {
  lock.unlock();
  auto listed = list(level, task.slot);
  lock.lock();
  held_entries_ += entries_of(listed->listing);
  task.listed = std::move(listed);
  task.state = State::kDone;
}

void ScanAhead::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    Task* task = nullptr;
    Level* level = nullptr;
    ++idle_;
    const bool found =
        more_.wait(lock, stop, [&] { return (task = begin_next(level)) != nullptr; });
    --idle_;
    if (!found) return;
    list_ahead(lock, *level, *task);
    done_.notify_one();
    if (stop.stop_requested()) return;
  }
}

}  // namespace cairn::repository
