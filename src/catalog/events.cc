#include "catalog/events.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectEvent =
    "SELECT id, time_ms, kind, workload_id, operation_id, message, data_json FROM events";

Result<Event> decode_event(const sqlite::Statement& row) {
  return Event{.id = row.integer(0),
               .time_ms = row.integer(1),
               .kind = row.text(2),
               .workload_id = row.text(3),
               .operation_id = row.text(4),
               .message = row.text(5),
               .data_json = row.text(6)};
}

std::int64_t bounded(std::int64_t limit) {
  return std::clamp<std::int64_t>(limit, 0, kEventsPerListMax);
}

}  // namespace

Result<std::int64_t> EventTable::append(const Event& event) {
  if (event.data_json.size() > kEventDataBytesMax) {
    return Error(Code::kInvalid, fmt::format("the data of event {} is too long", event.kind));
  }
  std::int64_t id = 0;
  {
    auto database = store_.lock();
    TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
    TRY(database->run(
        "INSERT INTO events (time_ms, kind, workload_id, operation_id, message, "
        "data_json) VALUES (?, ?, ?, ?, ?, ?)",
        {event.time_ms != 0 ? event.time_ms : wall_ms(), event.kind, event.workload_id,
         event.operation_id, printable(event.message, kEventMessageBytesMax), event.data_json}));
    id = database->last_insert_id();
    TRY(database->run("DELETE FROM events WHERE id <= ?", {id - kEventsMax}));
    TRY(transaction.commit());
  }
  {
    const std::lock_guard lock(mutex_);
    ++appends_;
  }
  appended_.notify_all();
  return id;
}

Result<std::vector<Event>> EventTable::list(std::int64_t after_id,
                                            const std::string& workload_id,
                                            std::int64_t limit) {
  auto database = store_.lock();
  return database->all<Event>(
      fmt::format("{} WHERE id > ?1 AND (?2 = '' OR workload_id = ?2) ORDER BY id LIMIT ?3",
                  kSelectEvent),
      {after_id, workload_id, bounded(limit)}, decode_event);
}

Result<std::vector<Event>> EventTable::list_newest(const std::string& workload_id,
                                                   std::int64_t limit) {
  auto database = store_.lock();
  TRY_ASSIGN(auto events,
             database->all<Event>(
                 fmt::format("{} WHERE ?1 = '' OR workload_id = ?1 ORDER BY id DESC LIMIT ?2",
                             kSelectEvent),
                 {workload_id, bounded(limit)}, decode_event));
  std::reverse(events.begin(), events.end());
  return events;
}

Result<std::vector<Event>> EventTable::wait_new(std::int64_t after_id,
                                                const std::string& workload_id,
                                                std::int64_t timeout_ms,
                                                std::stop_token stop) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (true) {
    // Read before the rows: an event that comes in between makes the wait below return at once. One
    // appended within Catalog::atomically() is waited for in list(), which needs the same lock.
    std::uint64_t seen = 0;
    {
      const std::lock_guard lock(mutex_);
      seen = appends_;
    }
    TRY_ASSIGN(auto events, list(after_id, workload_id, kEventsPerListMax));
    if (!events.empty()) return events;
    std::unique_lock lock(mutex_);
    const bool appended =
        appended_.wait_until(lock, stop, deadline, [this, seen] { return appends_ != seen; });
    if (!appended) return std::vector<Event>();
  }
}

void tell(EventTable& events,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message) {
  Event event;
  event.kind = kind;
  event.workload_id = workload_id;
  event.operation_id = operation_id;
  event.message = message;
  const auto written = events.append(event);
  if (!written.ok()) log::error("event {}: {}", kind, written.error().message());
  log::info("{} {} {}: {}", kind, workload_id, operation_id, message);
}

}  // namespace cairn::catalog
