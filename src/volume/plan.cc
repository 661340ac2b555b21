#include "volume/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/ids.h"
#include "base/strings.h"
#include "repository/archive.h"
#include "repository/restorer.h"
#include "volume/mounted.h"
#include "volume/transaction.h"

namespace cairn::volume {

namespace {

constexpr std::uint64_t kFreeBytesMin = 1ULL << 30U;  // stays free: max(5 %, this)
constexpr std::uint64_t kFreeShare = 20;              // 1/20 = 5 %
constexpr std::uint64_t kBytesPerEntry = 4096;        // a block for each entry, roughly

// Collects one plan. One thread.
class Planner {
 public:
  Planner(Core& core, const catalog::Workload& workload, const RestoreOptions& options)
      : core_(core), workload_(workload), options_(options) {}

  Status gather();
  void refuse(const std::string& target, const std::string& code, const std::string& detail) {
    plan.shown.reasons.push_back({target, code, detail});
  }
  // The resolved volume of a target, or a reason and nothing.
  ResolvedVolume* find_volume(const std::string& target);
  Status check_place(ResolvedVolume& volume, PlannedVolume& planned);
  bool refuse_pending(const ResolvedVolume& volume);
  Status check_mounts(const ResolvedVolume& volume, const std::string& path, bool root_is_mount);
  Status check_space();
  Status check_start();
  // The volumes that the plan does not exchange: these of the caller's, and of the current config
  // what it did not plan.
  void leave_alone(const std::set<std::string>& planned, std::set<std::string> others);

  FullPlan plan;

 private:
  void try_exchange(const os::Dir& home, const ResolvedVolume& volume);
  void check_entries(const os::Dir& root, const ResolvedVolume& volume);

  struct Demand {
    os::Space space;
    std::string path;
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    std::string target;
  };

  Core& core_;
  const catalog::Workload& workload_;
  const RestoreOptions& options_;
  std::vector<DeclaredVolume> declared_;
  Resolution resolution_;
  std::optional<catalog::Release> release_;
  std::vector<os::MountNamespace> namespaces_;
  std::vector<os::MountEntry> own_mounts_;
  std::map<std::uint64_t, NamespaceOwner> owners_;
  std::set<std::string> stopping_;           // container ids that will be stopped
  std::map<std::uint64_t, Demand> demands_;  // by device
  std::uint64_t replaced_bytes_ = 0;         // of the live trees, to be stored afterwards
};

Status Planner::gather() {
  plan.shown.workload_id = workload_.id;
  TRY_ASSIGN(declared_, declared_volumes(core_, workload_));
  TRY_ASSIGN(const PlaceSettings settings, read_place_settings(core_));
  TRY_ASSIGN(resolution_, resolve_volumes(core_.catalog, settings, workload_.id, declared_));
  TRY_ASSIGN(release_, core_.catalog.releases().current(workload_.id));
  TRY_ASSIGN(namespaces_, os::all_mount_namespaces());
  TRY_ASSIGN(own_mounts_, os::own_mounts());
  TRY_ASSIGN(owners_, containers_by_namespace(core_.engine));
  TRY_ASSIGN(const std::vector<ContainerState> containers,
             core_.lifecycle.containers(workload_.id));
  TRY_ASSIGN(plan.should_run, core_.lifecycle.should_run(workload_.id));
  plan.shown.will_start = plan.should_run;
  for (const ContainerState& one : containers) {
    stopping_.insert(one.id);
    if (one.running) plan.shown.stops.push_back(one.name);
  }
  for (const std::string& name : options_.also_stop) {
    TRY_ASSIGN(const std::optional<docker::Container> found, core_.engine.find_container(name));
    if (!found) {
      refuse("", "unknown_container", "--also-stop: no container " + printable(name, 80));
      continue;
    }
    stopping_.insert(found->id);
    plan.shown.stops.push_back(found->name);
  }
  return {};
}

ResolvedVolume* Planner::find_volume(const std::string& target) {
  const auto declared = std::ranges::find(declared_, target, &DeclaredVolume::target);
  if (declared == declared_.end()) {
    refuse(target, "not_declared", "the workload's current config has no volume at this path");
    return nullptr;
  }
  bool refused = false;
  for (const Reason& reason : resolution_.reasons) {
    if (reason.target != target) continue;
    plan.shown.reasons.push_back(reason);
    refused = true;
  }
  if (refused) return nullptr;
  if (!is_capturable(declared->scope)) {
    refuse(
        target, "not_capturable",
        fmt::format("its scope is now {}, which cannot be restored", scope_name(declared->scope)));
    return nullptr;
  }
  const auto found = std::ranges::find(resolution_.volumes, target, &ResolvedVolume::target);
  if (found == resolution_.volumes.end()) return nullptr;
  if (found->obstacle) {
    plan.shown.reasons.push_back(*found->obstacle);
    return nullptr;
  }
  return &*found;
}

// True, and refused, where the running release mounts another place.
bool Planner::refuse_pending(const ResolvedVolume& volume) {
  if (!release_) return false;
  const auto mount =
      std::ranges::find(release_->mounts, volume.target, &catalog::ReleaseMount::target);
  if (mount != release_->mounts.end() && mount->place == volume.place()) return false;
  refuse(volume.target, "pending_config",
         "the running release mounts another place here: deploy the changed config first");
  return true;
}

Status Planner::check_mounts(const ResolvedVolume& volume,
                             const std::string& path,
                             bool root_is_mount) {
  TRY_ASSIGN(const std::vector<Sighting> seen,
             find_sightings(namespaces_, own_mounts_, mount_namespace_of(::getpid()), path));
  for (const Sighting& sighting : seen) {
    const auto owner = owners_.find(sighting.name_space);
    const std::string name = owner == owners_.end() ? "" : owner->second.name;
    if (owner != owners_.end() && stopping_.contains(owner->second.id)) continue;
    if (sighting.same_path && owner == owners_.end()) continue;
    // The engine's own mount goes when the last container that uses the volume has stopped.
    const bool engine_mount = owner == owners_.end() && !volume.engine_mount.empty() &&
                              sighting.mount_point == volume.engine_mount;
    if (engine_mount) continue;
    const std::string words = describe(sighting, name);
    switch (sighting.use) {
      case MountUse::kRootIsMount:
        if (!root_is_mount) refuse(volume.target, "root_is_mount", words);
        break;
      case MountUse::kBeneath:
        refuse(volume.target, "mount_beneath", words);
        break;
      case MountUse::kVolume:
        refuse(volume.target, "mounted_by_others", words);
        break;
      case MountUse::kParentWrites:
        refuse(volume.target, "mounted_by_others",
               name.empty()
                   ? words
                   : fmt::format("{}; --also-stop {} stops it for the restore", words, name));
        break;
      case MountUse::kParentReads:
        plan.shown.readers.push_back(volume.target + ": " + words);
        break;
    }
  }
  return {};
}

// Tries the exchange on two scratch directories where the staged trees will lie.
void Planner::try_exchange(const os::Dir& home, const ResolvedVolume& volume) {
  const std::string scratch = std::string(kTrialPrefix) + ids::make(ids::kOperation);
  const auto before = home.find(std::string(kStagingName));
  const bool made_here = before.ok() && !before->has_value();
  const auto attempt = [&]() -> Status {
    TRY_ASSIGN(const os::Dir staging, make_staging(home, scratch));
    TRY(staging.make_dir("a", 0700));
    TRY(staging.make_dir("b", 0700));
    TRY_ASSIGN(const os::Handle a, staging.handle("a"));
    TRY(staging.exchange("a", staging, "b"));
    TRY_ASSIGN(const os::Handle b, staging.handle("b"));
    if (a != b) return Error(Code::kInternal, "directories do not keep their handles");
    return {};
  };
  const Status tried = attempt();
  const auto clean = [&]() -> Status {
    TRY_ASSIGN(const os::Dir root, home.open_dir(std::string(kStagingName), os::Crossing::kRefuse));
    TRY(root.remove_tree(scratch));
    // An empty one that was there before is somebody else's. Fails while other operations stage
    // there, as it should.
    if (made_here) (void)home.remove_dir(std::string(kStagingName)).ok();
    return {};
  };
  const Status cleaned = clean();
  if (!tried.ok() && tried.error().code() == Code::kNoSpace) {
    // Not even two directories fit; check_space() says how much is needed.
    plan.shown.no_space = true;
    refuse(volume.target, "no_space", tried.error().message());
  } else if (!tried.ok()) {
    refuse(volume.target, "cannot_exchange",
           "this place cannot exchange directories: " + tried.error().message());
  } else if (!cleaned.ok()) {
    refuse(volume.target, "cannot_exchange", cleaned.error().message());
  }
}

// The entries of a root that cannot be exchanged as one.
void Planner::check_entries(const os::Dir& root, const ResolvedVolume& volume) {
  const auto entries = list_moved(root);
  if (!entries.ok()) {
    refuse(volume.target, "root_is_mount", entries.error().message());
    return;
  }
  plan.shown.warnings.push_back(
      fmt::format("{}: its root is a mount point, so its {} entries are moved one by one and the "
                  "hold grows with them",
                  volume.target, entries->entries.size()));
}

Status Planner::check_place(ResolvedVolume& volume, PlannedVolume& planned) {
  auto opened = open_place(volume);
  if (!opened.ok() && opened.error().code() == Code::kNotFound) {
    // Not only the root but a directory above it, or the engine's volume, is missing: made again as
    // at a deploy.
    TRY(make_place(core_.catalog, core_.engine, workload_.id, volume));
    opened = open_place(volume);
  }
  if (!opened.ok()) {
    refuse(volume.target, "unresolved", opened.error().message());
    return {};
  }
  const RootPlace& place = *opened;
  planned.path = volume.path();
  TRY_ASSIGN(const std::optional<os::Stat> root, place.parent.find(place.name));
  planned.root_missing = !root.has_value();
  TRY_ASSIGN(const std::string parent_path, os::path_of(place.parent.fd()));
  TRY_ASSIGN(const StagingHome home, staging_home(place));
  planned.root_is_mount = home.is_root;
  if (home.is_root) check_entries(home.dir, volume);
  TRY(check_mounts(volume, parent_path + "/" + place.name, home.is_root));
  // A place that the running release does not mount may lie in a volume that it does mount.
  if (!refuse_pending(volume)) try_exchange(home.dir, volume);

  if (root) {
    auto live = place.parent.open_dir(place.name);
    if (live.ok()) {
      TRY_ASSIGN(const os::TreeSize size, os::measure_tree(*live));
      replaced_bytes_ += size.bytes;
    }
  }
  TRY_ASSIGN(const os::Stat staged_on, home.dir.stat());
  TRY_ASSIGN(const os::Space space, os::space_of(home.dir.fd()));
  Demand& demand = demands_[staged_on.device];
  demand.space = space;
  demand.path = planned.path;
  demand.target = volume.target;
  demand.bytes += planned.bytes + planned.entries * kBytesPerEntry;
  demand.entries += planned.entries;
  return {};
}

Status Planner::check_space() {
  // The replaced data is stored afterwards: at worst all of it is new to the repository.
  TRY_ASSIGN(const os::Dir data, os::Dir::open(core_.data_dir));
  TRY_ASSIGN(const os::Stat data_stat, data.stat());
  TRY_ASSIGN(const os::Space data_space, os::space_of(data.fd()));
  Demand& ours = demands_[data_stat.device];
  ours.space = data_space;
  if (ours.path.empty()) ours.path = core_.data_dir;
  ours.bytes += kJournalReserveBytes + replaced_bytes_;
  for (const auto& [device, demand] : demands_) {
    const std::uint64_t keep =
        std::max(demand.space.total_bytes / kFreeShare,
                 std::min(kFreeBytesMin, demand.space.total_bytes / kFreeShare * 4));
    if (demand.bytes + keep > demand.space.available_bytes) {
      plan.shown.no_space = true;
      refuse(demand.target, "no_space",
             fmt::format("the file system of {} has {} bytes, {} are needed and {} stay free",
                         printable(demand.path), demand.space.available_bytes, demand.bytes, keep));
    }
    if (demand.space.total_inodes != 0 && demand.entries > demand.space.available_inodes) {
      plan.shown.no_space = true;
      refuse(demand.target, "no_inodes",
             fmt::format("the file system of {} has {} inodes, {} are needed",
                         printable(demand.path), demand.space.available_inodes, demand.entries));
    }
  }
  return {};
}

Status Planner::check_start() {
  if (!plan.should_run) return {};
  Status can = core_.lifecycle.can_start(workload_.id);
  if (can.ok()) return {};
  if (can.error().code() != Code::kRefused) return can;
  refuse("", "cannot_start", can.error().message());
  return {};
}

void Planner::leave_alone(const std::set<std::string>& planned, std::set<std::string> others) {
  for (const DeclaredVolume& one : declared_) {
    if (!planned.contains(one.target)) others.insert(one.target);
  }
  plan.shown.untouched.assign(others.begin(), others.end());
}

// The chosen volumes of the snapshot, all where none is named; a reason for each that it lacks.
std::vector<catalog::SnapshotVolume> choose(const catalog::SnapshotRow& snapshot,
                                            const std::vector<std::string>& only,
                                            Planner& planner) {
  if (only.empty()) return snapshot.volumes;
  std::string has;
  for (const catalog::SnapshotVolume& one : snapshot.volumes) {
    has += (has.empty() ? "" : ", ") + printable(one.target);
  }
  const std::set<std::string> wanted(only.begin(), only.end());
  std::vector<catalog::SnapshotVolume> chosen;
  for (const std::string& target : wanted) {
    const auto found =
        std::ranges::find(snapshot.volumes, target, &catalog::SnapshotVolume::target);
    if (found == snapshot.volumes.end()) {
      planner.refuse(target, "not_in_snapshot",
                     "the snapshot has no volume " + printable(target) + "; it has " +
                         (has.empty() ? "none" : has));
      continue;
    }
    chosen.push_back(*found);
  }
  return chosen;
}

PlannedVolume shown_of(const ResolvedVolume& volume, int index) {
  PlannedVolume out;
  out.index = index;
  out.target = volume.target;
  out.scope = scope_name(volume.scope);
  out.source = volume.source;
  return out;
}

}  // namespace

Result<FullPlan> make_restore_plan(Core& core,
                                   const catalog::Workload& workload,
                                   const catalog::SnapshotRow& snapshot,
                                   const RestoreOptions& options) {
  Planner planner(core, workload, options);
  TRY(planner.gather());
  planner.plan.shown.snapshot_id = snapshot.id;
  TRY_ASSIGN(const repository::Id id, repository::Id::parse(snapshot.repository_snapshot));
  std::set<std::string> chosen;
  std::set<std::string> left_out;
  for (const catalog::SnapshotVolume& stored : snapshot.volumes) left_out.insert(stored.target);
  for (const catalog::SnapshotVolume& stored : choose(snapshot, options.only, planner)) {
    chosen.insert(stored.target);
    left_out.erase(stored.target);
    ResolvedVolume* volume = planner.find_volume(stored.target);
    if (volume == nullptr) continue;
    TRY_ASSIGN(const repository::StoredSize size,
               repository::measure(core.repository, id, repository::volume_path(stored.index)));
    PlannedVolume planned = shown_of(*volume, stored.index);
    planned.bytes = size.bytes;
    planned.entries = size.entries;
    TRY(planner.check_place(*volume, planned));
    TreePair pair;
    pair.index = stored.index;
    pair.volume = *volume;
    pair.staged_name = std::to_string(stored.index);
    pair.root_was_missing = planned.root_missing;
    pair.by_entries = planned.root_is_mount;
    planner.plan.pairs.push_back(std::move(pair));
    planner.plan.shown.volumes.push_back(std::move(planned));
  }
  if (snapshot.volumes.empty()) {
    planner.refuse("", "empty_snapshot", "the snapshot holds no volume");
  }
  planner.leave_alone(chosen, std::move(left_out));
  TRY(planner.check_space());
  TRY(planner.check_start());
  return std::move(planner.plan);
}

Result<FullPlan> make_undo_plan(Core& core,
                                const catalog::Workload& workload,
                                const catalog::UndoRow& undo,
                                const RestoreOptions& options) {
  Planner planner(core, workload, options);
  TRY(planner.gather());
  TRY_ASSIGN(const std::vector<TreePair> pairs, pairs_of(undo));
  std::set<std::string> exchanged;
  for (const TreePair& kept : pairs) {
    exchanged.insert(kept.volume.target);
    ResolvedVolume* volume = planner.find_volume(kept.volume.target);
    if (volume == nullptr) continue;
    PlannedVolume planned = shown_of(*volume, kept.index);
    TRY(planner.check_place(*volume, planned));
    if (volume->path() != kept.volume.path()) {
      planner.refuse(kept.volume.target, "place_changed",
                     "the volume's place is another one than when the undo was made");
      continue;
    }
    if (const Status there = check_replaced(kept); !there.ok()) {
      planner.refuse(kept.volume.target, "undo_tree_lost", there.error().message());
      continue;
    }
    TreePair pair = kept;
    if (pair.by_entries) {
      pair.new_tree = kept.old_tree;
      pair.old_tree = {};
    } else {
      std::swap(pair.new_handle, pair.old_handle);
    }
    pair.new_mtime = kept.old_mtime;
    pair.old_mtime.reset();
    pair.root_was_missing = false;
    planner.plan.pairs.push_back(std::move(pair));
    planner.plan.shown.volumes.push_back(std::move(planned));
  }
  planner.leave_alone(exchanged, {});
  TRY(planner.check_space());
  TRY(planner.check_start());
  return std::move(planner.plan);
}

Status check_plan(const RestorePlan& plan, const std::string& what) {
  if (plan.reasons.empty()) return {};
  std::string message = what + " is refused";
  for (const Reason& reason : plan.reasons) {
    message += "; " + (reason.target.empty() ? "" : reason.target + ": ") + reason.detail;
  }
  ErrorDetail detail;
  detail.reasons = plan.reasons;
  const bool only_space = plan.no_space && std::ranges::all_of(plan.reasons, [](const Reason& one) {
                            return one.code == "no_space" || one.code == "no_inodes";
                          });
  return Error(only_space ? Code::kNoSpace : Code::kRefused, std::move(message), std::move(detail));
}

}  // namespace cairn::volume
