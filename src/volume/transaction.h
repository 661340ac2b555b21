// transaction: the state machine of a restore and of an undo, driven by its journal, the same on
// the normal way and in recovery:
//
//   PLANNED -> STAGED -> QUIESCED -> EXCHANGING -> COMMITTED -> HEALTHY -> STORING -> (removed)
//                            \------------\------------\-> UNDOING -> UNDONE -> (removed)
//
// KEPT stands in HEALTHY's place where an unhealthy workload keeps the new data. Each state is
// durable before its first effect; after HEALTHY come rows and restart policies, after STORING
// nothing but the storing of what went out, without locks. Up to EXCHANGING recovery goes back,
// from COMMITTED forward. The caller holds the locks of the workload and its volumes. One thread at
// a time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "volume/core.h"
#include "volume/exchange.h"
#include "volume/journal.h"
#include "volume/mounted.h"
#include "volume/quiesce.h"

namespace cairn::volume {

namespace state {
inline constexpr std::string_view kPlanned = "PLANNED";
inline constexpr std::string_view kStaged = "STAGED";
inline constexpr std::string_view kQuiesced = "QUIESCED";
inline constexpr std::string_view kExchanging = "EXCHANGING";
inline constexpr std::string_view kCommitted = "COMMITTED";
inline constexpr std::string_view kHealthy = "HEALTHY";
inline constexpr std::string_view kKept = "KEPT";
inline constexpr std::string_view kUndoing = "UNDOING";
inline constexpr std::string_view kUndone = "UNDONE";
inline constexpr std::string_view kStoring = "STORING";
}  // namespace state

// What the journal's first record says.
struct ExchangePlan {
  std::string kind;  // "restore" or "undo"
  std::string workload_id;
  std::string workload_name;
  std::string snapshot_id;  // what is restored; empty for an undo
  std::string source_undo;  // what is undone; empty for a restore
  std::string undo_id;      // of the undo that this leaves behind
  OnFailure on_failure = OnFailure::kUndo;
  bool should_run = false;  // the workload's desired state
  std::int64_t generation_before = 0;
  std::vector<std::string> also_stop;
  std::vector<TreePair> pairs;
};

class Transaction {
 public:
  // Writes the journal: PLANNED.
  static Result<Transaction> begin(Core& core, const std::string& operation, ExchangePlan plan);
  // Reads what a crash left behind.
  static Result<Transaction> resume(Core& core, Journal journal);

  [[nodiscard]] const ExchangePlan& plan() const { return plan_; }
  [[nodiscard]] ExchangePlan& plan() { return plan_; }
  [[nodiscard]] const std::string& state() const { return journal_.state(); }
  [[nodiscard]] const std::string& operation() const { return journal_.operation(); }
  [[nodiscard]] const HoldClock& clock() const { return clock_; }
  [[nodiscard]] bool started() const { return started_; }

  // Records the handles of the pairs, which the caller has filled in: STAGED.
  Status record_staged();

  // From STAGED to STORING. On an error the old data is live again, runs, and the journal
  // is gone, unless unfinished() says that recovery must go on.
  Status run(Progress& progress, std::stop_token stop, catalog::OperationContext* context);
  // From whatever state a crash left to STORING or UNDONE (journal gone then). kUnavailable
  // while the engine is down: try again later.
  Status recover(Progress& progress, std::stop_token stop);

  // True where an unhealthy workload kept the new data.
  [[nodiscard]] bool kept() const { return journal_.find(state::kKept) != nullptr; }
  // The lock keys of the workload and its volumes.
  [[nodiscard]] std::vector<std::string> keys() const;
  // All is stored: removes the journal. The trees that went out stay: they are the undo.
  Status finish();
  // Before QUIESCED: removes what was staged, and the journal.
  Status abandon();
  // True while the journal still names work: the locks must stay taken.
  [[nodiscard]] bool unfinished() const { return unfinished_; }

 private:
  Transaction(Core& core, Journal journal, ExchangePlan plan)
      : core_(core), journal_(std::move(journal)), plan_(std::move(plan)) {}

  Status quiesce(std::stop_token stop);
  Status exchange_all();
  // After COMMITTED: start, view, health; HEALTHY, KEPT, or back.
  Status go_forward(Progress& progress, std::stop_token stop);
  Status start_and_check(Progress& progress, std::stop_token stop);
  // Old data back; returns why when all of it worked.
  Status go_back(Progress& progress, std::stop_token stop, const Error& why);
  Status undo_steps(std::stop_token stop);
  // Stops all containers on the volumes: those remembered and those that were made since.
  Status stop_everything();
  Result<bool> is_hosts_own(const Sighting& sighting);
  Status check_unseen();
  Status check_views(const std::vector<std::string>& container_ids);
  // The rows that say the exchange happened: undo, data generation. Again is fine.
  Status write_rows();
  // After HEALTHY or KEPT: rows, policies, STORING.
  Status settle(std::stop_token stop);
  Status append(std::string_view state, const std::string& json = {});
  Status load_quiesced();

  Core& core_;
  Journal journal_;
  ExchangePlan plan_;
  std::vector<ContainerState> containers_;  // as they were before
  std::vector<ContainerState> others_;      // of --also-stop
  HoldClock clock_;
  bool started_ = false;
  bool unfinished_ = true;
};

// Containers of the engine by mount namespace id, to name who sees a volume.
struct NamespaceOwner {
  std::string id;
  std::string name;
};
Result<std::map<std::uint64_t, NamespaceOwner>> containers_by_namespace(docker::Engine& engine);

}  // namespace cairn::volume
