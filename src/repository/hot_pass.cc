// One pass over the live volumes: list, compare with what is known, read and store what is not,
// write down what was found. Trees are not stored: they change until the cut.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <variant>

#include "base/strings.h"
#include "parallel/bounded_queue.h"
#include "parallel/sleep.h"
#include "parallel/task_group.h"
#include "repository/entry.h"
#include "repository/file_store.h"
#include "repository/limits.h"
#include "repository/session_state.h"

namespace cairn::repository {

namespace {

constexpr std::ptrdiff_t kFilesPerJob = 16;  // handed to a reader at once, so that it seldom waits
// A quick pass needs no total. With what an earlier capture knew, a pass is mostly a walk, and
// another one beside it would double its cost.
constexpr std::chrono::milliseconds kMeasureAfter{500};
constexpr std::chrono::milliseconds kMeasureKnownAfter{3'000};

// One directory until all its files are read. pending counts those, and one for the walk.
struct HotDir {
  std::shared_ptr<ScanDir> scan;
  std::uint32_t root = 0;
  FactsPlace same;                // the known facts, where all of them hold
  std::uint64_t files_bytes = 0;  // sizes of the regular files, as listed
  std::atomic<std::size_t> pending = 1;

  HotDir(std::shared_ptr<ScanDir> dir, std::uint32_t root_index)
      : scan(std::move(dir)), root(root_index) {}
};

// Files of one directory for one reader.
struct HotFiles {
  std::shared_ptr<HotDir> dir;
  std::vector<std::size_t> slots;
};

class HotPass final : public ScanVisitor {
 public:
  HotPass(SessionState& session, FactsFile& out)
      : session_(session),
        out_(out),
        jobs_(kJobsQueued),
        files_(
            session.writer,
            [this](FilePiece& piece) { return offer(piece); },
            [this](std::uint64_t bytes) { session_.progress.add(bytes, 0); }),
        group_(session.stop, [this] {
          jobs_.close();
          measuring_.request_stop();
        }) {}

  Result<PassResult> run(std::vector<ScanRoot>& roots);

 private:
  using Job = std::variant<HotFiles, FilePiece>;
  struct Worker {
    explicit Worker(const codec::BoxKey& key) : store(key) {}
    StoreContext store;
    Bytes buffer;
  };

  Status enter(const std::shared_ptr<ScanDir>& dir) override;
  Status leave(const std::shared_ptr<ScanDir>& dir) override;
  Status measure();
  Status walk_all(std::vector<ScanRoot>& roots);
  bool offer(FilePiece& piece);
  Status work();
  Status read_file(const std::shared_ptr<HotDir>& in, std::size_t slot, Worker& worker);
  Status end_file(HotDir& dir, std::size_t slot, OpenFile& file);
  Status complete(HotDir& dir);
  void work_ended();

  SessionState& session_;
  FactsFile& out_;
  parallel::BoundedQueue<Job> jobs_;
  FileStore files_;
  std::atomic<std::size_t> open_jobs_ = 1;  // and one for the walk: the last one closes the queue
  std::atomic<std::uint64_t> files_read_ = 0;
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::uint32_t root_ = 0;                     // the index of the one that is walked
  std::vector<std::shared_ptr<HotDir>> open_;  // those on the way to where the walk is
  std::int64_t walk_us_ = 0;
  std::int64_t pushing_us_ = 0;  // of the walk, waiting for room in the queue
  std::uint64_t entries_ = 0;
  std::stop_source measuring_;  // stopped when all is read
  parallel::TaskGroup group_;
};

bool HotPass::offer(FilePiece& piece) {
  Job job(std::move(piece));
  if (jobs_.try_push(job)) return true;
  piece = std::move(std::get<FilePiece>(job));
  return false;
}

void HotPass::work_ended() {
  if (open_jobs_.fetch_sub(1) != 1) return;
  jobs_.close();
  measuring_.request_stop();
}

Status HotPass::complete(HotDir& dir) {
  if (dir.pending.fetch_sub(1) != 1) return {};
  const auto vanished = [](const ScannedEntry& entry) { return entry.fact.node.name.empty(); };
  if (dir.same.in && std::ranges::none_of(dir.scan->entries, vanished)) {
    out_.put_same(dir.root, dir.scan->id, dir.same, false);
    return {};
  }
  DirFacts facts;
  facts.entries.reserve(dir.scan->entries.size());
  for (ScannedEntry& entry : dir.scan->entries) {
    if (!vanished(entry)) facts.entries.push_back(std::move(entry.fact));
  }
  return out_.put(dir.root, dir.scan->id, facts);
}

Status HotPass::enter(const std::shared_ptr<ScanDir>& dir) {
  if (group_.stop_token().stop_requested()) return Error(Code::kCancelled, "cancelled");
  auto open = std::make_shared<HotDir>(dir, root_);
  bool same = dir->known && dir->known->entries.size() == dir->entries.size();
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;  // of files that need no reading
  std::vector<std::size_t> reads;
  for (std::size_t i = 0; i < dir->entries.size(); ++i) {
    ScannedEntry& entry = dir->entries[i];
    const bool is_file = entry.fact.node.type == NodeType::kFile;
    if (entry.unchanged && !session_.is_stored(entry.fact)) entry.unchanged = false;
    same = same && entry.unchanged;
    if (is_file) open->files_bytes += entry.fact.stat_bytes;
    if (is_file && !entry.unchanged) {
      reads.push_back(i);
    } else {
      ++items;
      if (is_file) bytes += entry.fact.stat_bytes;
    }
  }
  if (same && session_.is_stored(*dir->known)) open->same = dir->known->at;
  open->pending += reads.size();
  session_.progress.add(bytes, items);
  const Stopwatch pushing;
  open_jobs_ += reads.size();
  for (auto at = reads.begin(); at != reads.end();) {
    const auto end = at + std::min<std::ptrdiff_t>(kFilesPerJob, reads.end() - at);
    if (!jobs_.push(HotFiles{open, {at, end}})) return Error(Code::kCancelled, "cancelled");
    at = end;
  }
  pushing_us_ += pushing.elapsed_us();
  open_.push_back(std::move(open));
  return {};
}

Status HotPass::leave(const std::shared_ptr<ScanDir>& /*dir*/) {
  const std::shared_ptr<HotDir> done = std::move(open_.back());
  open_.pop_back();
  return complete(*done);
}

Status HotPass::read_file(const std::shared_ptr<HotDir>& in, std::size_t slot, Worker& worker) {
  HotDir& dir = *in;
  Fact& fact = dir.scan->entries[slot].fact;
  auto opened = open_to_read(dir.scan->dir, fact.node.name);
  if (!opened.ok()) {
    return opened.error().with_context(printable(path_below(*dir.scan, fact.node.name)));
  }
  if (!opened->fd.valid()) {
    fact.node.name.clear();  // the next pass or the cut sees what took its place
    work_ended();
    return complete(dir);
  }
  set_metadata(fact.node, opened->stat, fact.node.device_id);
  TRY_ASSIGN(fact.id, os::file_id_of(opened->fd));
  fact.stat_bytes = opened->stat.size_bytes;
  fact.settled = is_before(opened->stat.ctime, session_.since);
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(opened->fd, fact.xattrs_lost));
  auto file = std::make_shared<OpenFile>();
  file->fd = std::move(opened->fd);
  file->stat = opened->stat;
  file->directory_bytes = dir.files_bytes;
  file->done = [this, in, slot](OpenFile& read, StoreContext&) {
    return end_file(*in, slot, read);
  };
  const std::string name = fact.node.name;  // the fact may be written and gone when this fails
  const auto stored = files_.store(file, worker.buffer, worker.store);
  if (!stored.ok()) {
    return stored.error().with_context(printable(path_below(*dir.scan, name)));
  }
  return {};
}

Status HotPass::end_file(HotDir& dir, std::size_t slot, OpenFile& file) {
  Fact& fact = dir.scan->entries[slot].fact;
  fact.node.size = file.size_bytes;
  fact.node.content = std::move(file.content);
  fact.fixed_bytes = static_cast<std::uint32_t>(file.fixed_bytes);
  if (file.size_bytes != fact.stat_bytes) fact.settled = false;
  ++files_read_;
  bytes_read_ += file.size_bytes;
  session_.progress.add(0, 1);
  work_ended();
  return complete(dir);
}

Status HotPass::work() {
  Worker worker(session_.repository.master_key());
  while (auto job = jobs_.pop()) {
    if (const auto* files = std::get_if<HotFiles>(&*job)) {
      for (const std::size_t slot : files->slots) TRY(read_file(files->dir, slot, worker));
    } else {
      TRY(files_.store_piece(std::move(std::get<FilePiece>(*job)), worker.buffer, worker.store));
    }
  }
  return {};
}

// Runs ahead of the readers, so that people see how much is left. After an earlier pass that is
// known well enough.
Status HotPass::measure() {
  const std::stop_token stop = measuring_.get_token();
  parallel::sleep_unless_stopped(stop, session_.known ? kMeasureKnownAfter : kMeasureAfter);
  os::TreeSize all;
  for (const ArchiveRoot& root : session_.given) {
    const auto size = os::measure_tree(*root.dir, stop);
    if (stop.stop_requested()) return {};
    if (!size.ok()) return size.error();
    all.bytes += size->bytes;
    all.entries += size->entries - 1;  // without the root
  }
  session_.progress.expect(all.bytes, all.entries);
  return {};
}

Status HotPass::walk_all(std::vector<ScanRoot>& roots) {
  const Stopwatch watch;
  for (ScanRoot& root : roots) {
    root_ = static_cast<std::uint32_t>(root.index);
    TRY(walk_tree(root, session_.known ? &*session_.known : nullptr,
                  session_.known_is_old ? KnownFrom::kBefore : KnownFrom::kThisSession,
                  session_.since, *this));
    entries_ += root.entries;
  }
  walk_us_ = watch.elapsed_us() - pushing_us_;
  work_ended();
  return {};
}

Result<PassResult> HotPass::run(std::vector<ScanRoot>& roots) {
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) {
    group_.run([this](const std::stop_token&) { return work(); });
  }
  if (!session_.known || session_.known_is_old) {
    group_.run([this](const std::stop_token&) { return measure(); });
  }
  const Status walked = walk_all(roots);
  if (!walked.ok()) group_.fail(walked.error());
  const Status done = group_.wait();
  if (!done.ok()) {
    TRY(session_.writer.failure());
    return done.error();
  }
  TRY(session_.writer.drain());
  return PassResult{.entries = entries_,
                    .files_read = files_read_,
                    .bytes_read = bytes_read_,
                    .walk_us = walk_us_};
}

// What the earlier capture had is what this one will have, until it is measured.
void expect_as_before(SessionState& session) {
  Beneath all;
  for (const ScanRoot& root : session.roots) {
    const auto facts = session.known->find(static_cast<std::uint32_t>(root.index), root.id);
    if (!facts.ok() || !*facts || (*facts)->tree.is_zero()) return;
    all += (*facts)->beneath;
  }
  session.progress.expect(all.bytes, all.files + all.dirs - session.roots.size());
}

}  // namespace

// Pages that are dirty now are clean when this returns; a store to one that is clean moves ctime.
Status sync_volumes(SessionState& session) {
  session.since = wall_now();
  std::vector<std::uint64_t> synced;
  for (const ArchiveRoot& root : session.given) {
    TRY_ASSIGN(const os::Stat stat, root.dir->stat());
    if (std::ranges::find(synced, stat.device) != synced.end()) continue;
    TRY(os::sync_file_system(root.dir->fd()));
    synced.push_back(stat.device);
  }
  return {};
}

Result<PassResult> run_pass(SessionState& session) {
  const bool again = session.known && !session.known_is_old;
  std::uint64_t entries = 0;  // of the pass before
  for (const ScanRoot& root : session.roots) entries += root.entries;
  session.progress.begin(again ? "read what changed" : "read");
  session.progress.expect(0, entries);
  TRY(sync_volumes(session));
  session.roots.clear();
  for (const ArchiveRoot& root : session.given) {
    TRY_ASSIGN(ScanRoot open, ScanRoot::open(root));
    session.roots.push_back(std::move(open));
  }
  if (session.known && session.known_is_old) expect_as_before(session);
  TRY_ASSIGN(FactsFile out, FactsFile::create(*session.scratch));
  TRY_ASSIGN(const PassResult result, HotPass(session, out).run(session.roots));
  TRY(out.seal());
  session.progress.end();
  session.known = std::move(out);
  session.known_is_old = false;
  return result;
}

}  // namespace cairn::repository
