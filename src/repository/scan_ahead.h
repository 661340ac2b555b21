// ScanAhead: directories that a walk is about to enter are listed by other threads meanwhile.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "parallel/task_group.h"
#include "repository/scan_list.h"

namespace cairn::repository {

// What is held ahead of the walk: a descriptor and the entries of each directory.
inline constexpr std::size_t kAheadPerLevel = 32;           // directories in one directory
inline constexpr std::size_t kAheadDirsMax = 128;           // directories
inline constexpr std::size_t kAheadEntriesMax = 32 * 1024;  // entries, beyond which no more begin

// open() and take() belong to one thread, the walk's. The destructor ends the threads.
class ScanAhead {
 public:
  explicit ScanAhead(const Lister& lister);

  // The walk entered dir. slots: its entries that are directories, which stay as they are until
  // they are taken.
  void open(const std::shared_ptr<ScanDir>& dir, const std::vector<std::size_t>& slots);
  // A subdirectory of the directory that was opened last and is not closed, in their order.
  struct Taken {
    std::size_t slot = 0;  // in its entries
    Result<Listing> listing;
  };
  // Null where all were taken; the directory is closed then.
  std::unique_ptr<Taken> take();

 private:
  enum class State : char { kWaiting, kRunning, kDone };
  struct Task {
    std::size_t slot = 0;
    State state = State::kWaiting;
    std::unique_ptr<Taken> listed;  // once done
  };
  struct Level {
    std::shared_ptr<ScanDir> dir;
    std::vector<Task> tasks;
    std::size_t next = 0;   // to be taken
    std::size_t ahead = 0;  // nothing waits before it
    std::size_t held = 0;   // begun by a thread and not taken
  };

  Task* begin_next(Level*& level);
  [[nodiscard]] std::unique_ptr<Taken> list(const Level& level, std::size_t slot) const;
  // With the lock held, which it lets go of meanwhile.
  void list_ahead(std::unique_lock<std::mutex>& lock, const Level& level, Task& task);
  void work(const std::stop_token& stop);
  void start();

  const Lister& lister_;
  std::mutex mutex_;  // of all that follows
  std::condition_variable_any more_;
  std::condition_variable done_;
  std::vector<std::unique_ptr<Level>> levels_;  // stay where they are: threads work on them
  std::size_t held_dirs_ = 0;
  std::size_t held_entries_ = 0;
  std::size_t idle_ = 0;  // threads that wait for more_
  bool started_ = false;
  bool stopped_ = false;  // nobody ends what is running
  parallel::TaskGroup group_;
};

}  // namespace cairn::repository
