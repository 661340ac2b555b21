// Operations: long-running actions with id, phases, progress and result. Operations runs each body
// on a thread that it owns. The start and the end of an operation are durable; phases and counts in
// between are kept in memory and written now and then, for people who look after a crash.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "catalog/states.h"

namespace cairn::catalog {

class Catalog;
class Store;

inline constexpr std::size_t kOperationsRunningMax = 64;
inline constexpr std::int64_t kOperationsFinishedMax = 2'000;  // rows kept
inline constexpr std::size_t kOperationWarningsMax = 200;
inline constexpr std::int64_t kOperationsPerListMax = 1'000;
inline constexpr std::int64_t kProgressWriteIntervalMs = 500;

struct OperationRow {
  std::string id;    // op_...
  std::string kind;  // "snapshot.create", "deploy", ...
  std::string workload_id;
  std::string actor;
  OperationState state = OperationState::kRunning;
  std::string phase;
  Progress::Count progress;
  std::string result_json;  // of kDone
  std::string error_json;   // of the other ends; error_from_json() reads it
  std::vector<std::string> warnings;
  std::int64_t started_ms = 0;
  std::int64_t finished_ms = 0;  // 0: still running
};

// What the body returned: the result of kDone, the error of the others; kBusy while it runs.
Result<std::string> outcome(const OperationRow& row);

// The rows, without the threads. Thread-safe. Used by Operations.
class OperationTable {
 public:
  explicit OperationTable(Store& store) : store_(store) {}

  Status insert(const OperationRow& row);  // trims finished rows past kOperationsFinishedMax
  Status update(const OperationRow& row);  // kNotFound
  // Writes phase, counts and warnings of a row that is still kRunning, without a sync: for people
  // who look after a crash.
  Status note_progress(const OperationRow& row);
  Result<std::optional<OperationRow>> find(const std::string& id);
  // Newest first; of one workload, or of all (empty id).
  Result<std::vector<OperationRow>> list(const std::string& workload_id, std::int64_t limit);
  // Rows that a crash left in kRunning become kInterrupted; returns them as they are now.
  Result<std::vector<OperationRow>> interrupt_running();

 private:
  Store& store_;
};

// What a body sees of its operation. Thread-safe.
class OperationContext : public Progress {
 public:
  [[nodiscard]] virtual const std::string& id() const = 0;
  // Asked to stop by cancel(), or by the daemon's end; never after forbid_cancel().
  [[nodiscard]] virtual std::stop_token stop_token() const = 0;
  // The daemon ends. For bodies past forbid_cancel() that may leave the rest to the recovery.
  [[nodiscard]] virtual std::stop_token ending_token() const = 0;
  // From now on cancel() is refused (the operation passed its point of no return). kCancelled when
  // it was asked to stop just before: the body must then go back, not on.
  virtual Status forbid_cancel() = 0;
};

struct OperationSpec {
  std::string kind;
  std::string workload_id;
  std::string actor;
  // On a full disk the catalog's reserve file is given up for it: for what leads out (restore,
  // undo, discard, removals).
  bool may_use_reserve = false;
};

// Thread-safe. The destructor asks every body to stop and joins all threads.
class Operations {
 public:
  // JSON text of a record.
  using Body = std::function<Result<std::string>(OperationContext&)>;

  // The catalog outlives this object.
  explicit Operations(Catalog& catalog);
  ~Operations();
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  // Writes the row, then runs body on its own thread; the operation's id. kUnavailable when
  // kOperationsRunningMax run already or the daemon is ending; nothing is left then.
  Result<std::string> start(const OperationSpec& spec, Body body);

  // Waits for the end. kNotFound. The row of an operation that ended long ago comes at once.
  Result<OperationRow> wait(const std::string& id);
  // The row as it is now, live counts included.
  Result<std::optional<OperationRow>> find(const std::string& id);
  // Newest first; of one workload, or of all (empty id).
  Result<std::vector<OperationRow>> list(const std::string& workload_id, std::int64_t limit);

  // Asks the body to stop; returns at once. kConflict when it is past its point of no return or has
  // ended, kNotFound.
  Status cancel(const std::string& id);

  struct Change {
    std::uint64_t version = 0;  // pass it to the next call
    OperationRow row;
  };
  // Waits up to timeout_ms for a state newer than version (0: returns at once) and returns what is
  // there then, with the same version when nothing changed. An ended operation returns at once.
  // kNotFound.
  Result<Change> wait_change(const std::string& id, std::uint64_t version, std::int64_t timeout_ms);

  // No new operations, and all running bodies are asked to stop (ending_token() too). Does not
  // wait.
  void begin_shutdown();
  // Number of bodies that run now.
  [[nodiscard]] std::size_t running() const;

 private:
  class Running;
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

}  // namespace cairn::catalog
