// The one counter over all threads and children, and what is to happen at which call.
// Thread-safe: the tracing thread takes numbers while the control socket changes the plan.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace cairn::crash {

enum class Action : std::uint8_t { kNone, kKill, kError, kShort };

struct Plan {
  std::uint64_t at = 0;  // call number, 0: never
  Action action = Action::kNone;
  bool after = false;           // kill once the call has been executed
  int error = 0;                // errno of kError
  std::uint64_t full_from = 0;  // from this call on the disk is full, 0: never
};

// What one call gets. `number` is 0 when counting is off.
struct Decision {
  std::uint64_t number = 0;
  Plan plan;  // action is kNone unless this is call `at`
  bool disk_full = false;
};

class Counter {
 public:
  Counter(const Plan& plan, bool armed) : plan_(plan), armed_(armed) {}

  Decision next();
  // Ends counting for good (the tree is being killed).
  void stop();
  bool armed() const;
  std::uint64_t count() const;

  // One line of the control protocol; the answer has no line feed.
  //   arm | disarm | count | reset | set [at=N] [do=WHAT] [after=0|1] [errors-from=N] | clear
  std::string command(const std::string& line);

 private:
  mutable std::mutex mutex_;
  Plan plan_;
  bool armed_;
  bool fired_ = false;
  bool stopped_ = false;
  std::uint64_t count_ = 0;
};

// Parses kill, none, short, error=ENOSPC|EIO|EROFS|EINTR (or a number); false when unknown.
bool parse_action(const std::string& text, Plan& plan);

// Answers commands on a Unix stream socket, one line each, from a thread of its own until the
// process ends. Returns 0 or an errno. `counter` must live as long as the process.
int serve_control(const std::string& path, Counter& counter);

}  // namespace cairn::crash
