#include "repository/capture_session.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "repository/limits.h"
#include "repository/session_state.h"

namespace cairn::repository {

namespace {

constexpr std::int64_t kTellEveryMs = 200;
constexpr std::int64_t kStepNs = 1'000'000;  // the two clocks are read less exactly than that

}  // namespace

Progress::Count SessionProgress::count() const {
  // What was expected may have grown since.
  const auto at_least = [](std::uint64_t total, std::uint64_t done) {
    return total == 0 ? 0 : std::max(total, done);
  };
  const std::uint64_t bytes = bytes_;
  const std::uint64_t items = items_;
  return {.bytes_done = bytes,
          .bytes_total = at_least(bytes_total_, bytes),
          .items_done = items,
          .items_total = at_least(items_total_, items)};
}

void SessionProgress::begin(std::string_view phase) {
  bytes_ = 0;
  items_ = 0;
  bytes_total_ = 0;
  items_total_ = 0;
  progress_.phase(phase);
}

void SessionProgress::expect(std::uint64_t bytes, std::uint64_t items) {
  bytes_total_ = bytes;
  items_total_ = items;
}

void SessionProgress::add(std::uint64_t bytes, std::uint64_t items) {
  bytes_ += bytes;
  items_ += items;
  const std::int64_t now = monotonic_ms();
  std::int64_t last = told_ms_;
  if (now - last < kTellEveryMs || !told_ms_.compare_exchange_strong(last, now)) return;
  progress_.count(count());
}

void SessionProgress::end() {
  progress_.count(count());
}

bool SessionState::clock_stepped() {
  const std::int64_t now_ns = wall_offset_ns();
  const std::int64_t step_ns = now_ns - offset_ns;
  offset_ns = now_ns;
  return step_ns > kStepNs || step_ns < -kStepNs;
}

Status SessionState::check_clock() {
  if (!clock_stepped()) return {};
  return Error(Code::kConflict,
               "the wall clock was set while the data was read, so file times do not tell what "
               "changed: take the snapshot again");
}

bool SessionState::is_stored(const Fact& fact) {
  if (!known_is_old) return true;
  return std::ranges::all_of(fact.node.content,
                             [this](const Id& id) { return writer.has(BlobType::kData, id); });
}

bool SessionState::is_stored(const DirFacts& facts) {
  return !known_is_old || writer.has(BlobType::kTree, facts.tree);
}

CaptureSession::CaptureSession(std::unique_ptr<SessionState> state) : state_(std::move(state)) {}
CaptureSession::~CaptureSession() = default;

Result<std::unique_ptr<CaptureSession>> CaptureSession::begin(Repository& repository,
                                                              const std::vector<ArchiveRoot>& roots,
                                                              Options options,
                                                              Progress& progress,
                                                              std::stop_token stop) {
  std::set<int> indexes;
  for (const ArchiveRoot& root : roots) {
    if (root.index < 0 || root.dir == nullptr || !indexes.insert(root.index).second) {
      return Error(Code::kInvalid, "roots need a directory and an index of their own");
    }
  }
  CHECK(options.scratch != nullptr);
  PendingSnapshot pending;
  TRY_ASSIGN(pending.lock, repository.lock(LockMode::kShared));
  TRY(repository.refresh_index());
  pending.paths.emplace_back(kManifestPath);
  for (const int index : indexes) pending.paths.push_back(volume_path(index));
  auto state = std::make_unique<SessionState>(repository, progress, std::move(stop));
  state->pending = std::move(pending);
  state->scratch = options.scratch;
  state->given = roots;
  state->known = std::move(options.known);
  state->wall_offset_ns = std::move(options.wall_offset_ns);
  state->offset_ns = state->wall_offset_ns();
  return std::unique_ptr<CaptureSession>(new CaptureSession(std::move(state)));
}

Result<PassResult> CaptureSession::pass() {
  CHECK(!state_->frozen);
  if (state_->clock_stepped()) state_->known.reset();
  return run_pass(*state_);
}

Result<CutResult> CaptureSession::cut(std::int64_t deadline_ms) {
  CHECK(state_->known && !state_->known_is_old);
  TRY_ASSIGN(const std::optional<CutResult> result, run_cut(*state_, deadline_ms, nullptr));
  TRY(state_->check_clock());
  return *result;
}

bool CaptureSession::knows_earlier() const {
  return state_->known && state_->known_is_old;
}

Status CaptureSession::sync() {
  return sync_volumes(*state_);
}

Result<std::optional<CutResult>> CaptureSession::cut_at_once(std::int64_t deadline_ms,
                                                             const CutLimit& limit) {
  CHECK(knows_earlier() && !state_->frozen);
  TRY_ASSIGN(std::optional<CutResult> result, run_cut(*state_, deadline_ms, &limit));
  if (result) TRY(state_->check_clock());
  return result;
}

void CaptureSession::freeze() {
  CHECK(state_->known && !state_->known_is_old);
  state_->frozen = std::move(state_->known);
}

Result<PendingSnapshot> CaptureSession::store(std::string_view manifest_json) {
  CHECK(state_->frozen);
  return run_store(*state_, manifest_json);
}

FactsFile CaptureSession::take_facts() {
  CHECK(state_->stored);
  return std::move(*state_->stored);
}

}  // namespace cairn::repository
