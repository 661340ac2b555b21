#include "volume/capture.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "codec/sealer.h"
#include "os/fault.h"
#include "os/file_id.h"
#include "repository/archive.h"
#include "repository/capture_session.h"
#include "repository/spool.h"
#include "volume/hold.h"
#include "volume/journal.h"
#include "volume/known_facts.h"
#include "volume/moved_tree.h"
#include "volume/snapshot_row.h"

namespace cairn::volume {

namespace {

// Passes before the one under the lock: until little is left to read, or it does not get less.
constexpr int kPassesMax = 6;
constexpr std::int64_t kQuickPassUs = 1'500'000;
// What a cut at once may take where the last hold was shorter than half of it.
constexpr std::int64_t kAtOnceMs = 100;
// Times that dirty pages are written out before the hold: until that is quick.
constexpr int kWriteOutsMax = 3;
constexpr std::int64_t kQuickWriteOutUs = 100'000;
// A config that changes while its volumes are read: begun again this often.
constexpr int kAttemptsMax = 3;
// What a cut costs beside the walk: reading and comparing where the file system cannot clone.
constexpr std::uint64_t kCutBytesPerMs = std::uint64_t{500} << 10U;
constexpr std::int64_t kCutFileUs = 150;

// What is captured, in the row: sizes come with describe().
void name_volumes(const std::vector<CaptureRoot>& roots, catalog::SnapshotRow& row) {
  row.volumes.clear();
  for (const CaptureRoot& root : roots) {
    row.volumes.push_back({.index = root.index,
                           .target = root.volume.target,
                           .scope = std::string(scope_name(root.volume.scope)),
                           .source = root.volume.source});
  }
}

// Fills in sizes and warnings of the row's volumes.
void describe(const repository::ArchiveResult& result, catalog::SnapshotRow& row) {
  row.bytes = row.files = 0;
  for (catalog::SnapshotVolume& volume : row.volumes) {
    for (const repository::RootStats& stats : result.roots) {
      if (stats.index != volume.index) continue;
      volume.bytes = stats.bytes;
      volume.files = stats.files;
      volume.walked = stats.walked;
      volume.changed_files = stats.changed_files;
      volume.changed_bytes = stats.changed_bytes;
      if (stats.sockets_skipped != 0) {
        row.warnings.push_back(fmt::format(
            "{}: {} skipped", volume.target,
            stats.sockets_skipped == 1 ? "1 socket was"
                                       : fmt::format("{} sockets were", stats.sockets_skipped)));
      }
      for (const std::string& mount : stats.mounts_skipped) {
        row.skipped.push_back({volume.target + "/" + mount, volume.scope, "mount_beneath",
                               "another file system is mounted here"});
      }
      for (const std::string& warning : stats.warnings) {
        row.warnings.push_back(volume.target + ": " + warning);
      }
    }
    row.bytes += volume.bytes;
    row.files += volume.files;
  }
}

Error nothing_to_capture(const CapturePlan& plan) {
  ErrorDetail detail;
  std::string words = "there is nothing to capture";
  if (plan.skipped.empty()) {
    const std::string reason = "the workload declares no volumes";
    return {Code::kRefused, words + ": " + reason, {.reasons = {{"", "no_volumes", reason}}}};
  }
  for (const catalog::SkippedVolume& one : plan.skipped) {
    detail.reasons.push_back({one.target, one.code, one.reason});
    words += "; " + one.target + ": " + one.reason;
  }
  return {Code::kRefused, std::move(words), std::move(detail)};
}

std::vector<repository::ArchiveRoot> archive_roots(std::span<const CaptureRoot> roots) {
  std::vector<repository::ArchiveRoot> out;
  out.reserve(roots.size());
  for (const CaptureRoot& root : roots) {
    out.push_back({root.index, &root.dir, root.is_mount ? stays_at_mount : nullptr});
  }
  return out;
}

// The same places under the same targets, as objects: a restore may have exchanged them.
Result<bool> same_roots(const CapturePlan& one, const CapturePlan& other) {
  if (one.roots.size() != other.roots.size()) return false;
  for (std::size_t i = 0; i < one.roots.size(); ++i) {
    if (one.roots[i].volume != other.roots[i].volume) return false;
    TRY_ASSIGN(const os::Handle left, one.roots[i].dir.handle());
    TRY_ASSIGN(const os::Handle right, other.roots[i].dir.handle());
    if (left != right) return false;
  }
  return true;
}

std::int64_t expected_hold_ms(const repository::PassResult& pass) {
  const std::int64_t files_us = static_cast<std::int64_t>(pass.files_read) * kCutFileUs;
  return (pass.walk_us + files_us) / 1000 +
         static_cast<std::int64_t>(pass.bytes_read / kCutBytesPerMs);
}

Status check_forecast(std::int64_t expected_ms, std::int64_t max_hold_ms) {
  if (expected_ms <= max_hold_ms) return {};
  const std::string words =
      "refused: the workload would be held for about " + std::to_string(expected_ms) +
      " ms, and max_hold is " + std::to_string(max_hold_ms) +
      " ms: allow more (--max-hold), choose a quieter moment, or use --consistency live";
  return Error(Code::kRefused, words, {.reasons = {{"", "hold_too_long", words}}});
}

// What changes until the cut, about as much as the last pass had to read, is copied beside the
// volumes whose file system cannot share blocks.
Status check_room(const std::vector<CaptureRoot>& roots, std::uint64_t bytes) {
  ErrorDetail detail;
  for (const CaptureRoot& root : roots) {
    TRY_ASSIGN(const os::Space space, os::space_of(root.dir.fd()));
    if (space.available_bytes >= bytes) continue;
    TRY_ASSIGN(const bool fits, repository::needs_no_room(root.dir));
    if (fits) continue;
    detail.reasons.push_back(
        {root.volume.target, "no_space",
         "about " + std::to_string(bytes) +
             " bytes change while it is read and are put aside beside it; free there are " +
             std::to_string(space.available_bytes) + " bytes"});
  }
  if (detail.reasons.empty()) return {};
  std::string words = "no room for what changes: " + detail.reasons[0].detail;
  return Error(Code::kNoSpace, std::move(words), std::move(detail));
}

// A clone waits until the dirty pages of its source are on the disk. Those of what was written
// since the last pass began are written here, while the workload runs, and then what it wrote
// meanwhile. Only where the file system can clone: a copy reads them from memory.
Status write_out(const std::vector<CaptureRoot>& roots) {
  std::vector<const os::Dir*> cloned;
  for (const CaptureRoot& root : roots) {
    TRY_ASSIGN(const bool clones, repository::needs_no_room(root.dir));
    if (clones) cloned.push_back(&root.dir);
  }
  for (int i = 0; i < kWriteOutsMax; ++i) {
    const Stopwatch watch;
    for (const os::Dir* dir : cloned) TRY(os::sync_file_system(dir->fd()));
    if (watch.elapsed_us() <= kQuickWriteOutUs) break;
  }
  return {};
}

Result<std::int64_t> max_hold_ms_of(Core& core, const CaptureOptions& options) {
  TRY_ASSIGN(const catalog::Settings settings, core.catalog.settings().all());
  return options.max_hold_s.value_or(settings.max_hold_s) * 1000;
}

// --- one capture ---------------------------------------------------------------------------------

enum class Frozen { kYes, kOtherVolumes, kGaveUp };

class Capture {
 public:
  Capture(Core& core,
          const CaptureOptions& options,
          catalog::OperationContext& context,
          const std::function<void(parallel::LockGuard)>& keep)
      : core_(core), options_(options), context_(context), keep_(keep) {}

  // Nothing where the volumes became others meanwhile: begin again.
  Result<std::optional<catalog::SnapshotRow>> run(const catalog::Workload& workload);

 private:
  Result<bool> is_quiet(const catalog::Workload& workload);
  Status read_ahead();
  Result<Frozen> freeze(const catalog::Workload& workload);
  Status hold_and_cut(const catalog::Workload& workload);
  Status read_last(bool pre_ran);
  Status cut(std::int64_t deadline_ms);
  Status cut_in_hold(const CaptureJournal& journal, Hold& hold);
  Result<CaptureJournal> plan_hold(const catalog::Workload& workload);
  Status store();

  Core& core_;
  const CaptureOptions& options_;
  catalog::OperationContext& context_;
  const std::function<void(parallel::LockGuard)>& keep_;
  CapturePlan plan_;
  std::optional<os::Dir> facts_dir_;
  std::unique_ptr<repository::CaptureSession> session_;
  catalog::SnapshotRow row_;
  std::int64_t max_hold_ms_ = 0;
  std::optional<Stopwatch> still_;  // since the end of a pass that found nothing to read
  bool at_once_ = false;            // the cut is tried without a pass before
  std::int64_t at_once_ms_ = 0;     // so long at most
  bool gave_up_ = false;            // because more changed, or it took longer
};

// Whether a cut at once is worth a try: the hold of the last capture found nothing that had changed
// and was short, there is room for what a cut may put aside, and nothing but a pause is needed,
// which is cheap to repeat.
Result<bool> Capture::is_quiet(const catalog::Workload& workload) {
  if (options_.consistency != Consistency::kPaused || !options_.pre.empty() ||
      !options_.post.empty() || !session_->knows_earlier() ||
      !check_room(plan_.roots, repository::kSmallDeltaBytes).ok()) {
    return false;
  }
  TRY_ASSIGN(const auto rows, core_.catalog.snapshots().list(workload.id));
  const auto last =
      std::ranges::find(rows, catalog::SnapshotReason::kManual, &catalog::SnapshotRow::reason);
  // After a restore every inode is another one.
  if (last == rows.end() || last->data_generation != workload.data_generation) return false;
  // Unlike a cut after a pass it may have to read directories and inodes from the disk.
  at_once_ms_ = std::max(kAtOnceMs, 2 * last->hold_ms);
  return at_once_ms_ <= max_hold_ms_ &&
         std::ranges::all_of(last->volumes, [](const catalog::SnapshotVolume& volume) {
           return volume.changed_files == 0;
         });
}

// Passes without the lock, while the workload runs.
Status Capture::read_ahead() {
  repository::PassResult before;
  for (int i = 0; i < kPassesMax; ++i) {
    const Stopwatch watch;
    TRY_ASSIGN(const repository::PassResult pass, session_->pass());
    still_.reset();
    if (pass.files_read == 0 && watch.elapsed_us() <= kQuickPassUs) still_.emplace();
    const bool small = pass.bytes_read <= repository::kSmallDeltaBytes &&
                       pass.files_read <= repository::kSmallDeltaFiles;
    const bool shrinks = i == 0 || pass.bytes_read < before.bytes_read / 4 * 3;
    before = pass;
    if ((small && watch.elapsed_us() <= kQuickPassUs) || !shrinks) break;
  }
  TRY(check_room(plan_.roots, before.bytes_read));
  if (options_.consistency == Consistency::kLive) return {};
  return check_forecast(expected_hold_ms(before), max_hold_ms_);
}

Result<CaptureJournal> Capture::plan_hold(const catalog::Workload& workload) {
  CaptureJournal journal{.workload_id = workload.id, .consistency = options_.consistency};
  TRY_ASSIGN(journal.containers, core_.lifecycle.containers(workload.id));
  const auto runs = std::ranges::find_if(
      journal.containers, [](const ContainerState& one) { return one.running && !one.paused; });
  if (options_.pre.empty() && options_.post.empty()) return journal;
  if (runs == journal.containers.end()) {
    row_.warnings.emplace_back("the workload does not run: its pre and post commands were skipped");
    return journal;
  }
  journal.post = {runs->id, runs->name, options_.post};
  return journal;
}

// The cut between the two ends of the hold; whatever fails, the hold is ended.
Status Capture::cut_in_hold(const CaptureJournal& journal, Hold& hold) {
  context_.phase(journal.consistency == Consistency::kStopped ? "stop" : "pause");
  if (const Status begun = hold.begin(core_, journal, max_hold_ms_); !begun.ok()) {
    // Where this fails too, recovery goes on trying.
    if (const Status ended = hold.end(context_.stop_token()); !ended.ok()) {
      log::warn("end a hold that failed to begin: {}", ended.error().message());
    }
    return begun;
  }
  row_.created_ms = wall_ms();
  const Status done = cut(hold.deadline_ms());
  const Status ended = hold.end(context_.stop_token());
  row_.hold_ms += hold.hold_ms();
  // Why the hold was not one is what people need to know, more than what came of it.
  return ended.ok() ? done : ended;
}

Status Capture::cut(std::int64_t deadline_ms) {
  if (!at_once_) {
    const auto done = session_->cut(deadline_ms);
    return done.ok() ? Status() : Status(done.error());
  }
  // Where nothing runs that could wait, the deadline is 0, which stays the smaller one: none.
  const std::int64_t enough_ms = monotonic_ms() + at_once_ms_;
  TRY_ASSIGN(const auto done,
             session_->cut_at_once(std::min(deadline_ms, enough_ms), repository::CutLimit{}));
  gave_up_ = !done;
  return {};
}

// What was written meanwhile is read before the hold, and what a pre command writes.
Status Capture::read_last(bool pre_ran) {
  if (!at_once_) {
    if (still_ && still_->elapsed_us() <= kQuickPassUs && !pre_ran) return {};
    if (const auto pass = session_->pass(); !pass.ok()) return pass.error();
  } else {
    TRY(session_->sync());
  }
  return write_out(plan_.roots);
}

// With the lock: journal -> pre -> last pass -> pages written out -> hold, cut -> post -> journal
// removed.
Status Capture::hold_and_cut(const catalog::Workload& workload) {
  TRY_ASSIGN(const CaptureJournal what, plan_hold(workload));
  const bool obliged = !what.post.command.empty() ||
                       (options_.consistency != Consistency::kLive && !what.containers.empty());
  std::optional<Journal> journal;
  std::optional<os::Dir> dir;
  if (obliged) {
    TRY_ASSIGN(dir, open_journal_dir(core_));
    TRY_ASSIGN(journal, Journal::create(*dir, context_.id(),
                                        {std::string(kCapturing), to_json(what).dump()}, 0));
  }
  Hold hold;
  Status done;
  // Both commands run in the same container; none of them where nothing runs.
  const Hook& at = what.post;
  if (!options_.pre.empty() && !at.container_id.empty()) {
    context_.phase("pre");
    done = run_hook(core_.engine, {at.container_id, at.container_name, options_.pre}, "pre");
  }
  if (done.ok()) done = read_last(!options_.pre.empty());
  if (done.ok()) done = cut_in_hold(what, hold);
  // Recovery has to end what could not be ended here, and runs the post command after that.
  if (!hold.released()) return done;
  if (!what.post.command.empty()) {
    context_.phase("post");
    const Status post = run_hook(core_.engine, what.post, "post");
    if (!post.ok() && post.error().code() == Code::kUnavailable) return post;
    if (done.ok() && !post.ok()) row_.warnings.push_back(post.error().message());
    if (!done.ok()) {
      done = done.error().with_note(post.ok() ? "the post command ran" : post.error().message());
    }
  }
  if (journal) TRY(journal->remove(*dir));
  return done;
}

// Of the volumes that were read ahead.
Result<Frozen> Capture::freeze(const catalog::Workload& before) {
  TRY_ASSIGN(const std::vector<std::string> keys, volume_keys(core_, before));
  TRY_ASSIGN(parallel::LockGuard lock, take_lock(core_.locks, keys, options_.on_busy, context_));
  TRY_ASSIGN(const catalog::Workload workload, core_.catalog.workloads().get(before.id));
  TRY_ASSIGN(const CapturePlan now, plan_capture(core_, workload));
  TRY_ASSIGN(const bool same, same_roots(plan_, now));
  if (!same) return Frozen::kOtherVolumes;
  row_.data_generation = workload.data_generation;
  TRY_ASSIGN(const std::optional<catalog::Release> release,
             core_.catalog.releases().current(workload.id));
  if (release) row_.release_id = release->id;
  const Status done = hold_and_cut(workload);
  if (!done.ok()) {
    keep_(std::move(lock));
    return done.error();
  }
  return gave_up_ ? Frozen::kGaveUp : Frozen::kYes;
}

Status Capture::store() {
  name_volumes(plan_.roots, row_);
  TRY(insert_cut_row(core_, row_));
  auto manifest = make_manifest(core_, row_);
  Result<repository::PendingSnapshot> pending =
      manifest.ok() ? session_->store(*manifest)
                    : Result<repository::PendingSnapshot>(manifest.error());
  if (pending.ok()) describe(pending->result, row_);
  TRY(commit_row(core_, std::move(pending), meta_of(row_), row_));
  save_facts(core_, *facts_dir_, row_.workload_id, plan_.roots, session_->take_facts());
  return {};
}

Result<std::optional<catalog::SnapshotRow>> Capture::run(const catalog::Workload& workload) {
  context_.phase("plan");
  TRY_ASSIGN(plan_, plan_capture(core_, workload));
  if (plan_.roots.empty()) return nothing_to_capture(plan_);
  TRY_ASSIGN(max_hold_ms_, max_hold_ms_of(core_, options_));
  row_ = {};
  row_.id = ids::make(ids::kSnapshot);
  row_.workload_id = workload.id;
  row_.workload_name = workload.name;
  row_.operation_id = context_.id();
  row_.reason = catalog::SnapshotReason::kManual;
  row_.consistency = consistency_name(options_.consistency);
  row_.labels = options_.labels;
  row_.skipped = plan_.skipped;
  TRY_ASSIGN(facts_dir_, open_facts_dir(core_));
  TRY_ASSIGN(session_, repository::CaptureSession::begin(
                           core_.repository, archive_roots(plan_.roots),
                           {.scratch = &*facts_dir_,
                            .known = load_facts(core_, *facts_dir_, workload.id, plan_.roots)},
                           context_, context_.stop_token()));
  TRY_ASSIGN(at_once_, is_quiet(workload));
  if (!at_once_) TRY(read_ahead());
  TRY_ASSIGN(Frozen frozen, freeze(workload));
  if (frozen == Frozen::kGaveUp) {
    at_once_ = gave_up_ = false;
    TRY(read_ahead());
    TRY_ASSIGN(frozen, freeze(workload));
  }
  if (frozen == Frozen::kOtherVolumes) {
    session_.reset();
    return std::optional<catalog::SnapshotRow>();
  }
  TRY(store());
  return std::optional<catalog::SnapshotRow>(std::move(row_));
}

Result<CaptureForecast> forecast(Core& core,
                                 const catalog::Workload& workload,
                                 const CaptureOptions& options) {
  TRY_ASSIGN(const CapturePlan plan, plan_capture(core, workload));
  if (plan.roots.empty()) return nothing_to_capture(plan);
  TRY_ASSIGN(const os::Dir dir, open_facts_dir(core));
  const auto known = load_facts(core, dir, workload.id, plan.roots);
  CaptureForecast out;
  out.consistency = options.consistency;
  out.skipped = plan.skipped;
  TRY_ASSIGN(out.max_hold_ms, max_hold_ms_of(core, options));
  repository::PassResult hold;
  for (const CaptureRoot& root : plan.roots) {
    TRY_ASSIGN(const repository::SurveyResult found,
               repository::survey(archive_roots({&root, 1}), known ? &*known : nullptr));
    const repository::PassResult& one = found.pass;
    out.volumes.push_back({.index = root.index,
                           .target = root.volume.target,
                           .scope = std::string(scope_name(root.volume.scope)),
                           .source = root.volume.source,
                           .entries = one.entries,
                           .files_to_read = one.files_read,
                           .bytes_to_read = one.bytes_read});
    hold.walk_us += one.walk_us;
    hold.files_read += found.lately.files_read;
    hold.bytes_read += found.lately.bytes_read;
  }
  if (options.consistency == Consistency::kLive) return out;
  // What is read ahead is not in the hold: only the walk is certain to be in it.
  TRY(check_forecast(expected_hold_ms({.walk_us = hold.walk_us}), out.max_hold_ms));
  out.expected_hold_ms = expected_hold_ms(hold);
  if (out.expected_hold_ms > out.max_hold_ms) {
    out.warnings.emplace_back(
        "so much is being written now that the capture would be refused, should that go on: allow "
        "more (--max-hold), choose a quieter moment, or use --consistency live");
  }
  return out;
}

}  // namespace

Result<CaptureForecast> forecast_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options) {
  auto out = forecast(core, workload, options);
  if (!out.ok()) return out.error().with_context("snapshot of " + workload.name);
  return out;
}

Result<catalog::SnapshotRow> run_capture(Core& core,
                                         const catalog::Workload& workload,
                                         const CaptureOptions& options,
                                         catalog::OperationContext& context,
                                         const std::function<void(parallel::LockGuard)>& keep) {
  if (options.on_busy == OnBusy::kRefuse) {
    // Somebody who works on the volumes now is told before anything is read.
    TRY_ASSIGN(const std::vector<std::string> keys, volume_keys(core, workload));
    TRY_ASSIGN(const parallel::LockGuard free, core.locks.try_lock(keys, context.id()));
  }
  for (int i = 0; i < kAttemptsMax; ++i) {
    TRY_ASSIGN(const catalog::Workload now, core.catalog.workloads().get(workload.id));
    auto row = Capture(core, options, context, keep).run(now);
    if (!row.ok()) return row.error().with_context("snapshot of " + workload.name);
    if (!*row) continue;
    tell(core, "snapshot.stored", workload.id, context.id(),
         "snapshot " + (*row)->id + " of " + workload.name + " is stored; the hold was " +
             std::to_string((*row)->hold_ms) + " ms");
    return std::move(**row);
  }
  return Error(Code::kConflict, "snapshot of " + workload.name +
                                    ": its volumes were exchanged or changed while they were "
                                    "read: take it again");
}

Status store_capture(Core& core,
                     const std::vector<CaptureRoot>& roots,
                     catalog::SnapshotRow& row,
                     catalog::OperationContext& context) {
  row.created_ms = wall_ms();
  name_volumes(roots, row);
  TRY_ASSIGN(const std::string manifest, make_manifest(core, row));
  TRY_ASSIGN(const os::Dir scratch, open_facts_dir(core));
  TRY_ASSIGN(repository::PendingSnapshot pending,
             repository::archive(core.repository, manifest, archive_roots(roots), scratch, context,
                                 context.stop_token()));
  describe(pending.result, row);
  TRY(insert_cut_row(core, row));
  return commit_row(core, std::move(pending), meta_of(row), row);
}

}  // namespace cairn::volume
