// One pass over the live volumes: list, compare with what is known, read and store what is not,
// write down what was found. Trees are not stored: they change until the cut.
#include <algorithm>
#include <atomic>
#include <thread>
#include <variant>

#include "base/strings.h"
#include "parallel/bounded_queue.h"
#include "parallel/task_group.h"
#include "repository/entry.h"
#include "repository/file_store.h"
#include "repository/limits.h"
#include "repository/session_state.h"

namespace cairn::repository {

namespace {

// One directory until all its files are read. pending counts those, and one for the walk.
struct HotDir {
  os::Dir dir;
  ScanRoot* root = nullptr;
  std::string path;
  os::FileId id;
  Id tree;                            // of an earlier capture, while everything is as it was
  std::vector<ScannedEntry> entries;  // a fact without a name vanished
  std::uint64_t files_bytes = 0;      // sizes of the regular files, as listed
  std::atomic<std::size_t> pending = 1;
  std::atomic<bool> changed = false;

  HotDir(os::Dir open_dir, ScanRoot* of_root, std::string relative_path, os::FileId dir_id)
      : dir(std::move(open_dir)), root(of_root), path(std::move(relative_path)), id(dir_id) {}
};

struct HotFile {
  std::shared_ptr<HotDir> dir;
  std::size_t slot = 0;
};

class HotPass {
 public:
  HotPass(SessionState& session, FactsFile& out)
      : session_(session),
        out_(out),
        jobs_(kJobsQueued),
        files_(
            session.writer,
            [this](FilePiece& piece) { return offer(piece); },
            [this](std::uint64_t bytes) { session_.progress.add(bytes, 0); }),
        group_(session.stop, [this] { jobs_.close(); }) {}

  Result<PassResult> run(std::vector<ScanRoot>& roots);

 private:
  using Job = std::variant<HotFile, FilePiece>;
  struct Worker {
    explicit Worker(const codec::BoxKey& key) : store(key) {}
    StoreContext store;
    Bytes buffer;
  };

  Status measure();
  Status walk_all(std::vector<ScanRoot>& roots);
  Status walk(os::Dir dir,
              ScanRoot& root,
              const std::string& path,
              const os::FileId& id,
              std::size_t depth);
  Status walk_children(HotDir& dir, const std::vector<std::size_t>& children, std::size_t depth);
  [[nodiscard]] bool is_stored(const Fact& fact);
  bool offer(FilePiece& piece);
  Status work();
  Status read_file(const HotFile& job, Worker& worker);
  Status end_file(const HotFile& job, OpenFile& file);
  Status complete(HotDir& dir);
  void work_ended();

  SessionState& session_;
  FactsFile& out_;
  parallel::BoundedQueue<Job> jobs_;
  FileStore files_;
  std::atomic<std::size_t> open_jobs_ = 1;  // and one for the walk: the last one closes the queue
  std::atomic<std::uint64_t> files_read_ = 0;
  std::atomic<std::uint64_t> bytes_read_ = 0;
  std::int64_t walk_us_ = 0;
  std::uint64_t entries_ = 0;
  parallel::TaskGroup group_;
};

bool HotPass::offer(FilePiece& piece) {
  Job job(std::move(piece));
  if (jobs_.try_push(job)) return true;
  piece = std::move(std::get<FilePiece>(job));
  return false;
}

// Facts of an earlier capture may name blobs that a prune removed since.
bool HotPass::is_stored(const Fact& fact) {
  if (!session_.known_is_old) return true;
  return std::ranges::all_of(
      fact.node.content, [this](const Id& id) { return session_.writer.has(BlobType::kData, id); });
}

void HotPass::work_ended() {
  if (open_jobs_.fetch_sub(1) == 1) jobs_.close();
}

Status HotPass::complete(HotDir& dir) {
  if (dir.pending.fetch_sub(1) != 1) return {};
  DirFacts facts;
  facts.entries.reserve(dir.entries.size());
  for (ScannedEntry& entry : dir.entries) {
    if (!entry.fact.node.name.empty()) facts.entries.push_back(std::move(entry.fact));
  }
  if (!dir.changed) facts.tree = dir.tree;
  return out_.put(static_cast<std::uint32_t>(dir.root->index), dir.id, facts);
}

Status HotPass::walk(
    os::Dir dir, ScanRoot& root, const std::string& path, const os::FileId& id, std::size_t depth) {
  if (depth > kDepthMax) return Error(Code::kInvalid, "the tree is deeper than allowed");
  if (group_.stop_token().stop_requested()) return Error(Code::kCancelled, "cancelled");
  const Stopwatch watch;
  auto open = std::make_shared<HotDir>(std::move(dir), &root, path, id);
  std::optional<DirFacts> known;
  if (session_.known) {
    auto found = session_.known->find(static_cast<std::uint32_t>(root.index), id);
    if (found.ok()) known = std::move(*found);
  }
  TRY_ASSIGN(open->entries,
             scan_directory(open->dir, path, root, known ? &*known : nullptr, session_.since));
  if (known && known->entries.size() == open->entries.size()) open->tree = known->tree;
  std::uint64_t items = 0;
  std::uint64_t bytes = 0;  // of files that need no reading
  std::vector<std::size_t> reads;
  std::vector<std::size_t> children;
  for (std::size_t i = 0; i < open->entries.size(); ++i) {
    ScannedEntry& entry = open->entries[i];
    if (entry.unchanged && !is_stored(entry.fact)) entry.unchanged = false;
    if (!entry.unchanged) open->changed = true;
    if (entry.fact.node.type == NodeType::kFile) open->files_bytes += entry.fact.stat_bytes;
    if (entry.fact.node.type == NodeType::kDir) children.push_back(i);
    if (entry.fact.node.type == NodeType::kFile && !entry.unchanged) {
      reads.push_back(i);
      ++open->pending;
    } else {
      ++items;
      if (entry.fact.node.type == NodeType::kFile) bytes += entry.fact.stat_bytes;
    }
  }
  walk_us_ += watch.elapsed_us();
  session_.progress.add(bytes, items);
  for (const std::size_t slot : reads) {
    ++open_jobs_;
    if (!jobs_.push(HotFile{open, slot})) return Error(Code::kCancelled, "cancelled");
  }
  // From here on the entries of files belong to those who read them.
  TRY(walk_children(*open, children, depth));
  return complete(*open);
}

Status HotPass::walk_children(HotDir& dir,
                              const std::vector<std::size_t>& children,
                              std::size_t depth) {
  for (const std::size_t slot : children) {
    ScannedEntry& entry = dir.entries[slot];
    const std::string path = join_path(dir.path, entry.fact.node.name);
    auto child = dir.dir.open_dir(entry.fact.node.name, os::Crossing::kRefuse);
    if (!child.ok() && os::is_gone(child.error())) {
      entry.fact.node.name.clear();
      dir.changed = true;
      continue;
    }
    if (!child.ok()) return child.error().with_context(printable(path));
    if (!entry.unchanged) TRY(read_directory_facts(*child, entry.fact, *dir.root, path));
    TRY(walk(std::move(*child), *dir.root, path, entry.fact.id, depth + 1));
  }
  return {};
}

Status HotPass::read_file(const HotFile& job, Worker& worker) {
  HotDir& dir = *job.dir;
  Fact& fact = dir.entries[job.slot].fact;
  auto opened = open_to_read(dir.dir, fact.node.name);
  if (!opened.ok()) return opened.error().with_context(printable(fact.node.name));
  if (!opened->fd.valid()) {
    fact.node.name.clear();  // the next pass or the cut sees what took its place
    work_ended();
    return complete(dir);
  }
  set_metadata(fact.node, opened->stat, fact.node.device_id);
  TRY_ASSIGN(fact.id, os::file_id_of(opened->fd));
  fact.stat_bytes = opened->stat.size_bytes;
  fact.settled = is_before(opened->stat.ctime, session_.since);
  std::size_t lost = 0;
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(opened->fd, lost));
  auto file = std::make_shared<OpenFile>();
  file->fd = std::move(opened->fd);
  file->stat = opened->stat;
  file->directory_bytes = dir.files_bytes;
  file->done = [this, job](OpenFile& read, StoreContext&) { return end_file(job, read); };
  auto stored = files_.store(file, worker.buffer, worker.store);
  if (!stored.ok()) return stored.error().with_context("read a file of the volume");
  return {};
}

Status HotPass::end_file(const HotFile& job, OpenFile& file) {
  Fact& fact = job.dir->entries[job.slot].fact;
  fact.node.size = file.size_bytes;
  fact.node.content = std::move(file.content);
  fact.fixed_bytes = static_cast<std::uint32_t>(file.fixed_bytes);
  if (file.size_bytes != fact.stat_bytes) fact.settled = false;
  ++files_read_;
  bytes_read_ += file.size_bytes;
  session_.progress.add(0, 1);
  work_ended();
  return complete(*job.dir);
}

Status HotPass::work() {
  Worker worker(session_.repository.master_key());
  while (auto job = jobs_.pop()) {
    if (auto* file = std::get_if<HotFile>(&*job)) {
      TRY(read_file(*file, worker));
    } else {
      TRY(files_.store_piece(std::move(std::get<FilePiece>(*job)), worker.buffer, worker.store));
    }
  }
  return {};
}

// Runs ahead of the readers, so that people see how much is left.
Status HotPass::measure() {
  os::TreeSize all;
  for (const ArchiveRoot& root : session_.given) {
    TRY_ASSIGN(const os::TreeSize size, os::measure_tree(*root.dir));
    all.bytes += size.bytes;
    all.entries += size.entries - 1;  // without the root
  }
  session_.progress.expect(all.bytes, all.entries);
  return {};
}

Status HotPass::walk_all(std::vector<ScanRoot>& roots) {
  for (ScanRoot& root : roots) {
    TRY_ASSIGN(os::Dir dir, root.dir->clone());
    TRY(walk(std::move(dir), root, "", root.id, 0));
    entries_ += root.entries;
  }
  work_ended();
  return {};
}

Result<PassResult> HotPass::run(std::vector<ScanRoot>& roots) {
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) {
    group_.run([this](const std::stop_token&) { return work(); });
  }
  group_.run([this](const std::stop_token&) { return measure(); });
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

}  // namespace

Result<PassResult> run_pass(SessionState& session) {
  session.progress.begin("read");
  // Pages that are dirty now are clean when this returns; a store to one that is clean moves ctime.
  session.since = wall_now();
  std::vector<std::uint64_t> synced;
  for (const ArchiveRoot& root : session.given) {
    TRY_ASSIGN(const os::Stat stat, root.dir->stat());
    if (std::ranges::find(synced, stat.device) != synced.end()) continue;
    TRY(os::sync_file_system(root.dir->fd()));
    synced.push_back(stat.device);
  }
  std::vector<ScanRoot> roots;
  for (const ArchiveRoot& root : session.given) {
    TRY_ASSIGN(ScanRoot open, ScanRoot::open(root));
    roots.push_back(std::move(open));
  }
  TRY_ASSIGN(FactsFile out, FactsFile::create(*session.scratch));
  TRY_ASSIGN(const PassResult result, HotPass(session, out).run(roots));
  TRY(out.seal());
  session.known = std::move(out);
  session.known_is_old = false;
  return result;
}

}  // namespace cairn::repository
