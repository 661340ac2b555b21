// Events: what happened, for people and scripts. Never holds a secret: callers pass ids, names and
// sentences only. The oldest are trimmed past kEventsMax.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

class Store;

inline constexpr std::int64_t kEventsMax = 50'000;
inline constexpr std::int64_t kEventsPerListMax = 1'000;
inline constexpr std::size_t kEventMessageBytesMax = 4 * 1024;  // longer ones are cut
inline constexpr std::size_t kEventDataBytesMax = 64 * 1024;    // longer ones are kInvalid

struct Event {
  std::int64_t id = 0;       // rises with every event, never reused; set by append
  std::int64_t time_ms = 0;  // 0 becomes now
  std::string kind;          // "deploy.done", "restore.recovered"
  std::string workload_id;
  std::string operation_id;
  std::string message;  // a sentence
  std::string data_json = "{}";
  bool operator==(const Event&) const = default;
};

// Thread-safe.
class EventTable {
 public:
  explicit EventTable(Store& store) : store_(store) {}

  // Durable when it returns; the event's id.
  Result<std::int64_t> append(const Event& event);
  // Events after an id in order, of one workload or of all (empty); at most min(limit,
  // kEventsPerListMax).
  Result<std::vector<Event>> list(std::int64_t after_id,
                                  const std::string& workload_id,
                                  std::int64_t limit);
  // The newest events, oldest of them first.
  Result<std::vector<Event>> list_newest(const std::string& workload_id, std::int64_t limit);
  // The same as list(), but waits up to timeout_ms for a first one; empty when none came or stop
  // was asked for.
  Result<std::vector<Event>> wait_new(std::int64_t after_id,
                                      const std::string& workload_id,
                                      std::int64_t timeout_ms,
                                      std::stop_token stop = {});

 private:
  Store& store_;
  std::mutex mutex_;
  std::condition_variable_any appended_;
  std::uint64_t appends_ = 0;  // guarded by mutex_: how many this process made
};

// An event, also logged. A failure to write it is logged and changes nothing.
void tell(EventTable& events,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message);

}  // namespace cairn::catalog
