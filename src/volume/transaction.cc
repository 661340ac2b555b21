#include "volume/transaction.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "os/fault.h"
#include "os/process.h"
#include "volume/holder.h"
#include "volume/mounted.h"

namespace cairn::volume {

namespace {

constexpr std::size_t kRecordReserveBytes = 64UL << 10U;
constexpr int kEndingMs = 1000;  // that the end of a process may come after that of its mounts

nlohmann::json plan_json(const ExchangePlan& plan) {
  return {{"kind", plan.kind},
          {"workload_id", plan.workload_id},
          {"workload_name", plan.workload_name},
          {"snapshot_id", plan.snapshot_id},
          {"source_undo", plan.source_undo},
          {"undo_id", plan.undo_id},
          {"keep_on_failure", plan.on_failure == OnFailure::kKeep},
          {"should_run", plan.should_run},
          {"generation_before", plan.generation_before},
          {"also_stop", plan.also_stop},
          {"pairs", to_json(plan.pairs)}};
}

Result<ExchangePlan> parse_plan(const std::string& text) {
  const Error bad(Code::kCorrupt, "the journal's plan is damaged");
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return bad;
  for (const char* key :
       {"kind", "workload_id", "workload_name", "snapshot_id", "source_undo", "undo_id"}) {
    if (!json.contains(key) || !json[key].is_string()) return bad;
  }
  for (const char* key : {"keep_on_failure", "should_run"}) {
    if (!json.contains(key) || !json[key].is_boolean()) return bad;
  }
  if (!json.contains("generation_before") || !json["generation_before"].is_number_integer() ||
      !json.contains("also_stop") || !json["also_stop"].is_array() || !json.contains("pairs")) {
    return bad;
  }
  ExchangePlan plan;
  plan.kind = json["kind"];
  plan.workload_id = json["workload_id"];
  plan.workload_name = json["workload_name"];
  plan.snapshot_id = json["snapshot_id"];
  plan.source_undo = json["source_undo"];
  plan.undo_id = json["undo_id"];
  plan.on_failure = json["keep_on_failure"].get<bool>() ? OnFailure::kKeep : OnFailure::kUndo;
  plan.should_run = json["should_run"];
  plan.generation_before = json["generation_before"];
  for (const auto& name : json["also_stop"]) {
    if (!name.is_string()) return bad;
    plan.also_stop.push_back(name);
  }
  TRY_ASSIGN(plan.pairs, parse_tree_pairs(json["pairs"]));
  return plan;
}

// The very tree that was put there must be what a container sees, whose root directory this is.
Status check_view(const os::Dir& root, const TreePair& pair, const std::string& container) {
  const auto seen = root.open_in_root(pair.volume.target);
  if (!seen.ok()) {
    if (seen.error().code() == Code::kNotFound) return {};  // the process ended meanwhile
    return seen.error().with_context("look into container " + container);
  }
  const auto handle = seen->handle();
  if (!handle.ok()) return handle.error().with_context("look into container " + container);
  if (handle->text != pair.live_after()) {
    return Error(Code::kConflict, fmt::format("container {} does not see the new data at {}",
                                              container, printable(pair.volume.target)));
  }
  return {};
}

}  // namespace

Result<Transaction> Transaction::begin(Core& core,
                                       const std::string& operation,
                                       ExchangePlan plan) {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core));
  const std::string json = plan_json(plan).dump();
  // STAGED holds the pairs again, with their handles, and EXCHANGING with the live roots' times.
  std::size_t reserve = kRecordReserveBytes + 4 * json.size();
  for (const TreePair& pair : plan.pairs) reserve += pair.by_entries ? kMovedRecordBytes : 0;
  TRY_ASSIGN(Journal journal,
             Journal::create(dir, operation, {std::string(state::kPlanned), json}, reserve));
  return Transaction(core, std::move(journal), std::move(plan));
}

Result<Transaction> Transaction::resume(Core& core, Journal journal) {
  TRY_ASSIGN(ExchangePlan plan, parse_plan(journal.records().front().json));
  const JournalRecord* staged = journal.find(state::kExchanging);
  if (staged == nullptr) staged = journal.find(state::kStaged);
  if (staged != nullptr) {
    const auto json = nlohmann::json::parse(staged->json, nullptr, false);
    TRY_ASSIGN(plan.pairs, parse_tree_pairs(json));
  }
  Transaction out(core, std::move(journal), std::move(plan));
  TRY(out.load_quiesced());
  return out;
}

Status Transaction::load_quiesced() {
  const JournalRecord* quiesced = journal_.find(state::kQuiesced);
  if (quiesced == nullptr) return {};
  const auto json = nlohmann::json::parse(quiesced->json, nullptr, false);
  if (!json.is_object() || !json.contains("containers") || !json.contains("others")) {
    return Error(Code::kCorrupt, "the journal's list of containers is damaged");
  }
  TRY_ASSIGN(containers_, parse_containers(json["containers"]));
  TRY_ASSIGN(others_, parse_containers(json["others"]));
  return {};
}

Status Transaction::append(std::string_view state, const std::string& json) {
  if (os::seeded(os::Bug::kJournalStateAfterEffect) && state == state::kQuiesced) return {};
  return journal_.append({std::string(state), json});
}

Status Transaction::record_staged() {
  return append(state::kStaged, to_json(plan_.pairs).dump());
}

Result<std::map<std::uint64_t, NamespaceOwner>> containers_by_namespace(docker::Engine& engine) {
  docker::ContainerFilter filter;
  filter.running_only = true;
  TRY_ASSIGN(const std::vector<docker::ContainerSummary> all, engine.list_containers(filter));
  std::map<std::uint64_t, NamespaceOwner> out;
  for (const docker::ContainerSummary& summary : all) {
    TRY_ASSIGN(const std::optional<docker::Container> one, engine.find_container(summary.id));
    if (!one || one->pid == 0) continue;
    if (const auto id = mount_namespace_of(static_cast<pid_t>(one->pid)); id != 0) {
      out[id] = {one->id, one->name};
    }
  }
  return out;
}

// Whether somebody has the host's own view of the volume, as a service with private mounts has. A
// container that mounts a root at the very path it has on the host looks the same.
Result<bool> Transaction::is_hosts_own(const Sighting& sighting) {
  if (!sighting.same_path || sighting.use != MountUse::kVolume) return sighting.same_path;
  TRY_ASSIGN(const auto owners, containers_by_namespace(core_.engine));
  return !owners.contains(sighting.name_space);
}

// Asks the kernel: nobody may see the volumes while they are exchanged. Writable parent mounts of
// containers that were not named were refused by the plan; here they refuse again.
Status Transaction::check_unseen() {
  TRY_ASSIGN(const std::vector<os::MountNamespace> all, os::all_mount_namespaces());
  TRY_ASSIGN(const std::vector<os::MountEntry> own, os::own_mounts());
  const std::uint64_t own_id = mount_namespace_of(::getpid());
  for (const TreePair& pair : plan_.pairs) {
    TRY_ASSIGN(const RootPlace place, open_place(pair.volume));
    TRY_ASSIGN(const std::string parent, os::path_of(place.parent.fd()));
    TRY_ASSIGN(const std::vector<Sighting> seen,
               find_sightings(all, own, own_id, parent + "/" + place.name));
    for (const Sighting& sighting : seen) {
      if (sighting.use == MountUse::kParentReads) continue;
      if (sighting.use == MountUse::kRootIsMount && pair.by_entries) continue;
      TRY_ASSIGN(const bool hosts_own, is_hosts_own(sighting));
      if (hosts_own) continue;
      return Error(Code::kConflict,
                   fmt::format("volume {} is in use: {}", printable(pair.volume.target),
                               describe(sighting, "")));
    }
  }
  return {};
}

Status Transaction::quiesce(std::stop_token stop) {
  TRY_ASSIGN(containers_, core_.lifecycle.containers(plan_.workload_id));
  TRY_ASSIGN(const catalog::Settings settings, core_.catalog.settings().all());
  for (const std::string& name : plan_.also_stop) {
    TRY_ASSIGN(ContainerState other,
               observe(core_.engine, name, static_cast<int>(settings.stop_grace_s)));
    others_.push_back(std::move(other));
  }
  if (stop.stop_requested())
    return Error(Code::kCancelled, "cancelled before anything was stopped");
  return append(
      state::kQuiesced,
      nlohmann::json{{"containers", to_json(containers_)}, {"others", to_json(others_)}}.dump());
}

Status Transaction::stop_everything() {
  std::vector<ContainerState> all = containers_;
  all.insert(all.end(), others_.begin(), others_.end());
  std::set<std::string> known;
  for (const ContainerState& one : all) known.insert(one.id);
  TRY_ASSIGN(const std::vector<ContainerState> now, core_.lifecycle.containers(plan_.workload_id));
  for (const ContainerState& one : now) {
    if (!known.contains(one.id)) all.push_back(one);
  }
  return stop_all(core_.engine, all, clock_);
}

Status Transaction::exchange_all() {
  for (const TreePair& pair : plan_.pairs) TRY(make_live(pair, Live::kNew));
  return {};
}

Status Transaction::run(Progress& progress,
                        std::stop_token stop,
                        catalog::OperationContext* context) {
  progress.phase("quiesce");
  if (const Status quiesced = quiesce(stop); !quiesced.ok()) {
    TRY(abandon());
    return quiesced;
  }
  // From here on every way out puts the containers back.
  if (const Status stopped = while_engine_is_down(stop, [this] { return stop_everything(); });
      !stopped.ok()) {
    return go_back(progress, stop, stopped.error());
  }
  if (const Status unseen = check_unseen(); !unseen.ok()) {
    return go_back(progress, stop, unseen.error());
  }
  progress.phase("exchange");
  if (os::seeded(os::Bug::kCommitBeforeExchange)) TRY(append(state::kCommitted));
  const auto commit = [&]() -> Status {
    for (TreePair& pair : plan_.pairs) TRY(record_live(pair));
    TRY(append(state::kExchanging, to_json(plan_.pairs).dump()));
    TRY(exchange_all());
    TRY(check_unseen());
    if (context != nullptr) TRY(context->forbid_cancel());
    if (stop.stop_requested()) return Error(Code::kCancelled, "cancelled before the commit");
    return append(state::kCommitted);
  };
  if (const Status committed = commit(); !committed.ok()) {
    return go_back(progress, stop, committed.error());
  }
  // Nobody can cancel any more; a daemon that ends leaves the rest to recovery.
  return go_forward(progress, context != nullptr ? context->ending_token() : stop);
}

Status Transaction::check_views(const std::vector<std::string>& container_ids) {
  for (const std::string& id : container_ids) {
    TRY_ASSIGN(const std::optional<docker::Container> one, core_.engine.find_container(id));
    if (!one || one->pid == 0) continue;  // it ended already: health will say so
    const auto process = os::open_process(one->pid);
    if (!process.ok() && process.error().os_errno() == ESRCH) continue;
    if (!process.ok()) return process.error().with_context("look into container " + one->name);
    const auto root = os::Dir::open(fmt::format("/proc/{}/root", one->pid));
    if (!root.ok()) continue;
    for (const TreePair& pair : plan_.pairs) {
      const Status viewed = check_view(*root, pair, one->name);
      if (viewed.ok()) continue;
      // The mounts go with the last process that has them, a moment before its end can be seen.
      TRY_ASSIGN(const bool ended, os::has_ended(*process, kEndingMs));
      if (ended) break;
      return viewed;
    }
  }
  return {};
}

Status Transaction::start_and_check(Progress& progress, std::stop_token stop) {
  if (!plan_.should_run) return {};
  progress.phase("start");
  Lifecycle::Started now;
  TRY(while_engine_is_down(stop, [&]() -> Status {
    auto result =
        clock_.engine([&] { return core_.lifecycle.start(plan_.workload_id, containers_); });
    if (!result.ok()) return result.error();
    now = std::move(*result);
    return {};
  }));
  TRY(start_others(core_.engine, others_, clock_));
  TRY(check_views(now.container_ids));
  progress.phase("health");
  TRY(while_engine_is_down(stop, [&] {
    return clock_.engine(
        [&] { return core_.lifecycle.await_health(plan_.workload_id, now.container_ids, stop); });
  }));
  started_ = true;
  return {};
}

Status Transaction::go_forward(Progress& progress, std::stop_token stop) {
  const Status started = start_and_check(progress, stop);
  if (clock_.begun()) clock_.end();
  if (!started.ok()) {
    const Error& why = started.error();
    if (stop.stop_requested() &&
        (why.code() == Code::kUnavailable || why.code() == Code::kCancelled)) {
      return why;  // the daemon ends: the journal says COMMITTED, recovery goes on from there
    }
    if (plan_.on_failure == OnFailure::kUndo) return go_back(progress, stop, why);
    TRY(append(state::kKept));
    progress.warn("the workload is not healthy on the restored data: " + why.message());
  } else {
    if (!plan_.should_run) {
      TRY(start_others(core_.engine, others_, clock_));
    }
    TRY(append(state::kHealthy));
  }
  const Status settled = settle(stop);
  if (settled.ok()) return settled;
  ErrorDetail detail = settled.error().detail();
  detail.data = "new";
  return settled.error()
      .with_note("the new data is live, and what is left to do is tried again")
      .with_detail(std::move(detail));
}

Status Transaction::settle(std::stop_token stop) {
  TRY(write_rows());
  std::vector<ContainerState> all = containers_;
  all.insert(all.end(), others_.begin(), others_.end());
  TRY(while_engine_is_down(stop, [&] { return put_back(core_.engine, all); }));
  if (!plan_.source_undo.empty()) {
    TRY(while_engine_is_down(stop, [&] { return remove_holder(core_, plan_.source_undo); }));
  }
  // From here on the workload is free: a later operation may stop it while this one still stores.
  TRY(append(state::kStoring));
  unfinished_ = false;
  return {};
}

std::vector<std::string> Transaction::keys() const {
  std::vector<ResolvedVolume> volumes;
  for (const TreePair& pair : plan_.pairs) volumes.push_back(pair.volume);
  return lock_keys(plan_.workload_id, volumes);
}

Status Transaction::write_rows() {
  return core_.catalog.atomically([&]() -> Status {
    TRY_ASSIGN(const std::optional<catalog::UndoRow> there,
               core_.catalog.undos().find(plan_.undo_id));
    if (!there && !os::seeded(os::Bug::kUndoRowMissing)) {
      catalog::UndoRow row;
      row.id = plan_.undo_id;
      row.workload_id = plan_.workload_id;
      row.workload_name = plan_.workload_name;
      row.operation_id = operation();
      row.snapshot_id = plan_.snapshot_id;
      row.made_generation = plan_.generation_before + 1;
      row.volumes_json = to_json(plan_.pairs).dump();
      TRY(core_.catalog.undos().insert(row));
    }
    if (!plan_.source_undo.empty()) {
      TRY_ASSIGN(std::optional<catalog::UndoRow> source,
                 core_.catalog.undos().find(plan_.source_undo));
      if (source && source->state != catalog::UndoState::kUndone) {
        source->state = catalog::UndoState::kUndone;
        TRY(core_.catalog.undos().update(*source));
      }
    }
    const Status raised =
        core_.catalog.workloads().raise_generation(plan_.workload_id, plan_.generation_before + 1);
    if (!raised.ok() && raised.error().code() != Code::kNotFound) return raised;
    return {};
  });
}

Status Transaction::undo_steps(std::stop_token stop) {
  TRY(while_engine_is_down(stop, [this] { return stop_everything(); }));
  std::set<std::string> before;
  for (const ContainerState& one : containers_) before.insert(one.id);
  std::vector<std::string> made;
  TRY(while_engine_is_down(stop, [&]() -> Status {
    TRY_ASSIGN(const std::vector<ContainerState> now,
               core_.lifecycle.containers(plan_.workload_id));
    made.clear();
    for (const ContainerState& one : now) {
      if (!before.contains(one.id)) made.push_back(one.id);
    }
    return core_.lifecycle.remove_created(plan_.workload_id, made);
  }));
  for (const TreePair& pair : plan_.pairs) TRY(make_live(pair, Live::kOld));
  // The desired state decides what runs, the observed one only what was paused.
  if (plan_.should_run && !os::seeded(os::Bug::kRecoverySkipsStart)) {
    TRY(while_engine_is_down(stop, [&]() -> Status {
      auto result =
          clock_.engine([&] { return core_.lifecycle.start(plan_.workload_id, containers_); });
      if (!result.ok()) return result.error();
      return {};
    }));
  }
  TRY(while_engine_is_down(stop, [&] { return start_others(core_.engine, others_, clock_); }));
  std::vector<ContainerState> all = containers_;
  all.insert(all.end(), others_.begin(), others_.end());
  return while_engine_is_down(stop, [&] { return put_back(core_.engine, all); });
}

Status Transaction::go_back(Progress& progress, std::stop_token stop, const Error& why) {
  progress.phase("undo");
  if (state() != state::kUndoing) {
    log::warn("{} goes back: {}", operation(), why.message());
    const Status recorded = append(state::kUndoing, nlohmann::json{{"why", why.message()}}.dump());
    // Without the record recovery would go forward again from COMMITTED; before it, it goes back
    // with or without.
    if (!recorded.ok() && state() == state::kCommitted) return recorded;
  }
  const Status undone = undo_steps(stop);
  if (!undone.ok()) {
    return undone.error().with_context("put the old data back after: " + why.message());
  }
  if (clock_.begun()) clock_.end();
  TRY(append(state::kUndone));
  TRY(abandon());
  ErrorDetail detail = why.detail();
  detail.data = "old";
  return why.with_detail(std::move(detail));
}

Status Transaction::abandon() {
  if (os::seeded(os::Bug::kStagingLeftBehind)) {
    unfinished_ = false;
    return finish();
  }
  for (const TreePair& pair : plan_.pairs) {
    // An undo's trees are the undo: they stay.
    if (plan_.kind == "restore") TRY(remove_staged(pair, pair.new_handle));
    if (plan_.kind == "restore" && pair.root_was_missing) {
      // The root that was made for the exchange; a root that holds something stays.
      TRY_ASSIGN(const RootPlace place, open_place(pair.volume));
      TRY_ASSIGN(const bool removed, place.parent.remove_dir_if_empty(place.name));
      if (removed) TRY(place.parent.sync());
    }
  }
  if (!plan_.source_undo.empty()) {
    TRY_ASSIGN(std::optional<catalog::UndoRow> source,
               core_.catalog.undos().find(plan_.source_undo));
    if (source && source->state == catalog::UndoState::kApplying) {
      source->state = catalog::UndoState::kAvailable;
      TRY(core_.catalog.undos().update(*source));
    }
  }
  TRY(remove_holder(core_, plan_.undo_id));
  unfinished_ = false;
  return finish();
}

Status Transaction::finish() {
  TRY_ASSIGN(const os::Dir dir, open_journal_dir(core_));
  return journal_.remove(dir);
}

Status Transaction::recover(Progress& progress, std::stop_token stop) {
  const std::string at = state();
  if (at == state::kPlanned || at == state::kStaged) {
    TRY(abandon());
    tell(core_, plan_.kind + ".recovered", plan_.workload_id, operation(),
         "an interrupted " + plan_.kind + " had changed nothing; what it staged was removed");
    return {};
  }
  if (at == state::kQuiesced || at == state::kExchanging ||
      (at == state::kUndoing && !os::seeded(os::Bug::kRecoveryIgnoresUndoing))) {
    const Status back = go_back(progress, stop, Error(Code::kCancelled, "interrupted"));
    // go_back returns the reason when all of it worked: that is success here.
    if (unfinished_) return back;
    tell(core_, plan_.kind + ".recovered", plan_.workload_id, operation(),
         "an interrupted " + plan_.kind + " was taken back; the old data is live");
    return {};
  }
  if (at == state::kCommitted || at == state::kUndoing) {
    if (os::seeded(os::Bug::kCommitBeforeExchange)) return settle(stop);
    TRY(while_engine_is_down(stop, [this] { return stop_everything(); }));
    // They are exchanged already, durably, and where a root is a mount point the workload may have
    // run and changed its entries since: only those that were exchanged as one are looked at.
    for (const TreePair& pair : plan_.pairs) {
      if (!pair.by_entries) TRY(make_live(pair, Live::kNew));
    }
    const Status forward = go_forward(progress, stop);
    if (unfinished_) return forward;
    tell(core_, plan_.kind + ".recovered", plan_.workload_id, operation(),
         forward.ok() ? "an interrupted " + plan_.kind + " was completed; the new data is live"
                      : "an interrupted " + plan_.kind +
                            " was taken back, since the workload was not healthy: " +
                            forward.error().message());
    return {};
  }
  if (at == state::kHealthy || at == state::kKept) {
    if (plan_.should_run && at == state::kHealthy) {
      // The engine may have restarted while the policies were still "no".
      TRY(while_engine_is_down(stop, [&]() -> Status {
        auto result = core_.lifecycle.start(plan_.workload_id, containers_);
        if (!result.ok()) return result.error();
        return {};
      }));
    }
    TRY(settle(stop));
    tell(core_, plan_.kind + ".recovered", plan_.workload_id, operation(),
         "an interrupted " + plan_.kind + " had only its rows to write; the new data is live");
    return {};
  }
  if (at == state::kStoring) {
    unfinished_ = false;
    return {};
  }
  // UNDONE: only the cleaning was left.
  TRY(abandon());
  tell(core_, plan_.kind + ".recovered", plan_.workload_id, operation(),
       "an interrupted " + plan_.kind + " had been taken back; the old data is live");
  return {};
}

}  // namespace cairn::volume
