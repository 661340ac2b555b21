#include "repository/archiver.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <utility>
#include <variant>

#include "base/strings.h"
#include "codec/chunker.h"
#include "parallel/bounded_queue.h"
#include "parallel/guarded.h"
#include "parallel/task_group.h"
#include "repository/archive_dir.h"
#include "repository/blob_writer.h"
#include "repository/entry.h"
#include "repository/file_store.h"
#include "repository/limits.h"
#include "repository/lock.h"
#include "repository/scan.h"
#include "repository/top_tree.h"
#include "repository/tree.h"

namespace cairn::repository {

PendingSnapshot::PendingSnapshot() = default;
PendingSnapshot::~PendingSnapshot() = default;
PendingSnapshot::PendingSnapshot(PendingSnapshot&&) noexcept = default;
PendingSnapshot& PendingSnapshot::operator=(PendingSnapshot&&) noexcept = default;

std::string volume_path(int index) {
  return "/volumes/" + std::to_string(index);
}

namespace {

constexpr std::int64_t kProgressEveryMs = 200;
constexpr std::size_t kFilesPerJob = 16;  // handed to a worker at once, so that it seldom waits

// A directory whose subdirectories are being walked.
struct Level {
  std::shared_ptr<OpenDir> dir;
  std::vector<std::size_t> children;  // slots that are left, last one first
};

bool vanished(const Error& error) {
  return error.code() == Code::kNotFound;
}

class Archiver {
 public:
  Archiver(Repository& repository,
           KnownFiles* known,
           Progress& progress,
           const std::stop_token& stop)
      : repository_(repository),
        known_(known),
        progress_(progress),
        writer_(repository, stop),
        jobs_(kJobsQueued),
        files_(
            writer_,
            [this](FilePiece& piece) { return offer(piece); },
            [this](std::uint64_t bytes) {
              bytes_done_ += bytes;
              report();
            }),
        group_(stop, [this] { jobs_.close(); }) {}

  Status store_roots(const std::vector<ArchiveRoot>& roots);
  Result<ArchiveResult> finish(std::string_view manifest, std::vector<IndexedPack>& packs);

 private:
  struct Worker {
    explicit Worker(const codec::BoxKey& key) : store(key) {}
    StoreContext store;
    Bytes buffer;
  };
  struct FileJob {
    std::shared_ptr<OpenDir> dir;
    std::vector<std::size_t> slots;
  };
  // One file of a job.
  struct FileSlot {
    std::shared_ptr<OpenDir> dir;
    std::size_t slot = 0;
  };
  using Job = std::variant<FileJob, FilePiece>;
  enum class Added { kNothing, kFile, kDir };  // what is left to do

  Status walk(const std::shared_ptr<OpenDir>& top, StoreContext& store);
  Result<Level> enter(const std::shared_ptr<OpenDir>& dir);
  Result<Added> add_entry(OpenDir& dir, const os::Entry& entry);
  bool take_over(const OpenDir& dir, const os::Stat& stat, Node& node);
  Result<std::shared_ptr<OpenDir>> open_child(const std::shared_ptr<OpenDir>& dir,
                                              std::size_t slot);
  Status walk_roots(const std::vector<ArchiveRoot>& roots);
  Status work();
  Status store_file(const FileSlot& job, Worker& worker);
  Result<bool> use_known(const FileSlot& job);
  Status end_file(const FileSlot& job, OpenFile& file, StoreContext& store);
  Status complete(std::shared_ptr<OpenDir> dir, StoreContext& store);
  Result<std::vector<os::Xattr>> read_xattrs(const os::Fd& fd,
                                             const OpenDir& dir,
                                             std::string_view name);
  void warn(OpenRoot& root, std::string text);
  void report();
  bool offer(FilePiece& piece);

  Repository& repository_;
  KnownFiles* const known_;
  Progress& progress_;
  BlobWriter writer_;
  parallel::BoundedQueue<Job> jobs_;
  FileStore files_;
  std::vector<std::unique_ptr<OpenRoot>> roots_;
  std::atomic<std::size_t> roots_pending_ = 0;
  std::atomic<std::uint64_t> bytes_done_ = 0;
  std::atomic<std::uint64_t> items_done_ = 0;
  std::atomic<std::int64_t> reported_ms_ = 0;
  parallel::TaskGroup group_;
};

void Archiver::warn(OpenRoot& root, std::string text) {
  progress_.warn(text);
  auto warnings = root.warnings.lock();
  if (warnings->size() < kWarningsMax) warnings->push_back(std::move(text));
}

// Of the entry name in dir, or of a root where that is empty. The format has no place for a name
// that is not UTF-8: better left out than changed.
Result<std::vector<os::Xattr>> Archiver::read_xattrs(const os::Fd& fd,
                                                     const OpenDir& dir,
                                                     std::string_view name) {
  std::size_t lost = 0;
  TRY_ASSIGN(std::vector<os::Xattr> xattrs, repository::read_xattrs(fd, lost));
  if (lost != 0) {
    warn(*dir.root, "an extended attribute of /" + printable(path_below(dir, name)) +
                        " is left out: its name is not UTF-8");
  }
  return xattrs;
}

bool Archiver::offer(FilePiece& piece) {
  Job job(std::move(piece));
  if (jobs_.try_push(job)) return true;
  piece = std::move(std::get<FilePiece>(job));
  return false;
}

void Archiver::report() {
  const std::int64_t now = monotonic_ms();
  std::int64_t last = reported_ms_;
  if (now - last < kProgressEveryMs || !reported_ms_.compare_exchange_strong(last, now)) return;
  progress_.count({.bytes_done = bytes_done_, .items_done = items_done_});
}

// True where the file is as it was known to be; then nothing is left to do for it.
bool Archiver::take_over(const OpenDir& dir, const os::Stat& stat, Node& node) {
  if (known_ == nullptr) return false;
  const std::string path = path_below(dir, node.name);
  std::optional<Node> known =
      known_->find_entry({dir.root->index, path, &dir.dir, node.name}, stat);
  const auto is_here = [this](const Id& id) { return writer_.has(BlobType::kData, id); };
  if (!known || !std::all_of(known->content.begin(), known->content.end(), is_here)) return false;
  node.xattrs = std::move(known->xattrs);
  node.content = std::move(known->content);
  node.size = stat.size_bytes;
  dir.root->bytes += node.size;
  bytes_done_ += node.size;
  return true;
}

// Looks at one entry; what is left to do for it.
Result<Archiver::Added> Archiver::add_entry(OpenDir& dir, const os::Entry& entry) {
  OpenRoot& root = *dir.root;
  TRY_ASSIGN(const std::optional<os::Stat> stat, dir.dir.find(entry.name));
  if (!stat) return Added::kNothing;
  if (stat->mount_id != root.mount_id) {
    root.mounts.push_back(path_below(dir, entry.name));
    return Added::kNothing;
  }
  if (stat->type == os::FileType::kSocket) {
    ++root.sockets;
    return Added::kNothing;
  }
  if (stat->type != os::FileType::kDirectory && stat->links > 1) {
    auto& missing = root.links_missing.try_emplace(stat->inode, stat->links).first->second;
    if (--missing == 0) root.links_missing.erase(stat->inode);
  }
  if (stat->type == os::FileType::kRegular) dir.files_bytes += stat->size_bytes;
  Node node;
  node.name = entry.name;
  set_metadata(node, *stat, device_id_of(root));
  if (stat->type != os::FileType::kRegular && stat->type != os::FileType::kDirectory) {
    auto fd = dir.dir.open_path(entry.name);
    if (!fd.ok() && vanished(fd.error())) return Added::kNothing;
    if (!fd.ok()) return fd.error();
    TRY_ASSIGN(node.xattrs, read_xattrs(*fd, dir, entry.name));
    if (stat->type == os::FileType::kSymlink) {
      auto target = dir.dir.read_link(entry.name);
      if (!target.ok() && vanished(target.error())) return Added::kNothing;
      if (!target.ok()) return target.error();
      node.link_target = std::move(*target);
    }
  }
  const bool is_dir = stat->type == os::FileType::kDirectory;
  const bool to_do =
      is_dir || (stat->type == os::FileType::kRegular && !take_over(dir, *stat, node));
  if (!to_do) {
    ++root.files;
    ++items_done_;
  }
  dir.nodes.push_back(std::move(node));
  return is_dir ? Added::kDir : to_do ? Added::kFile : Added::kNothing;
}

// Lists the directory and hands its files to the workers. What is left are its subdirectories.
Result<Level> Archiver::enter(const std::shared_ptr<OpenDir>& dir) {
  if (group_.stop_token().stop_requested()) return Error(Code::kCancelled, "cancelled");
  ++dir->root->dirs;
  ++items_done_;
  report();
  TRY_ASSIGN(std::vector<os::Entry> entries, dir->dir.list());
  std::sort(entries.begin(), entries.end(),
            [](const os::Entry& a, const os::Entry& b) { return a.name < b.name; });
  dir->nodes.reserve(entries.size());
  Level level{.dir = dir, .children = {}};
  std::vector<std::size_t> files;
  for (const os::Entry& entry : entries) {
    auto added = add_entry(*dir, entry);
    if (!added.ok()) return added.error().with_context(printable(path_below(*dir, entry.name)));
    if (*added == Added::kFile) files.push_back(dir->nodes.size() - 1);
    if (*added == Added::kDir) level.children.push_back(dir->nodes.size() - 1);
  }
  std::reverse(files.begin(), files.end());
  std::reverse(level.children.begin(), level.children.end());
  // The nodes stay where they are from here on: other threads fill in those of files, which this
  // one leaves alone once they are handed over.
  dir->pending += level.children.size() + files.size();
  while (!files.empty()) {
    FileJob job{.dir = dir, .slots = {}};
    while (!files.empty() && job.slots.size() < kFilesPerJob) {
      job.slots.push_back(files.back());
      files.pop_back();
    }
    if (!jobs_.push(std::move(job))) return Error(Code::kCancelled, "cancelled");
  }
  return level;
}

// Opens a subdirectory; null where it vanished.
Result<std::shared_ptr<OpenDir>> Archiver::open_child(const std::shared_ptr<OpenDir>& dir,
                                                      std::size_t slot) {
  Node& node = dir->nodes[slot];
  auto opened = dir->dir.open_dir(node.name, os::Crossing::kRefuse);
  if (!opened.ok()) {
    if (!vanished(opened.error())) {
      return opened.error().with_context(printable(path_below(*dir, node.name)));
    }
    node.name.clear();
    --dir->pending;
    return std::shared_ptr<OpenDir>();
  }
  TRY_ASSIGN(node.xattrs, read_xattrs(opened->fd(), *dir, node.name));
  return std::make_shared<OpenDir>(dir, slot, std::move(*opened), dir->root, node.name);
}

// In depth first, without recursion: trees may be deeper than a stack is.
Status Archiver::walk(const std::shared_ptr<OpenDir>& top, StoreContext& store) {
  std::vector<Level> levels;
  TRY_ASSIGN(Level first, enter(top));
  levels.push_back(std::move(first));
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.children.empty()) {
      const std::shared_ptr<OpenDir> dir = std::move(level.dir);
      levels.pop_back();
      TRY(complete(dir, store));
      continue;
    }
    const std::size_t slot = level.children.back();
    level.children.pop_back();
    TRY_ASSIGN(std::shared_ptr<OpenDir> child, open_child(level.dir, slot));
    if (!child) continue;
    if (levels.size() > kDepthMax) {
      return Error(Code::kInvalid, "the tree is deeper than allowed");
    }
    TRY_ASSIGN(Level below, enter(child));
    levels.push_back(std::move(below));
  }
  return {};
}

// One thing of dir is done. Stores dir's tree, and its parents', where it was the last.
Status Archiver::complete(std::shared_ptr<OpenDir> dir, StoreContext& store) {
  while (dir->pending.fetch_sub(1) == 1) {
    std::erase_if(dir->nodes, [](const Node& node) { return node.name.empty(); });
    const std::string json = encode_tree(dir->nodes);
    if (json.size() > kTreeBlobBytesMax) {
      return Error(Code::kInvalid,
                   printable(path_below(*dir, "")) + " has more entries than can be stored");
    }
    TRY_ASSIGN(const Id tree, writer_.store(BlobType::kTree, as_bytes(json), store));
    if (!dir->parent) {
      dir->root->node.subtree = tree;
      if (roots_pending_.fetch_sub(1) == 1) jobs_.close();
      return {};
    }
    dir->parent->nodes[dir->slot].subtree = tree;
    dir = std::shared_ptr<OpenDir>(dir->parent);
  }
  return {};
}

Result<bool> Archiver::use_known(const FileSlot& job) {
  OpenDir& dir = *job.dir;
  Node& node = dir.nodes[job.slot];
  TRY_ASSIGN(const os::Fd fd, dir.dir.open_path(node.name));
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(fd));
  const std::string path = path_below(dir, node.name);
  auto content = known_->find({dir.root->index, path, &dir.dir, node.name}, stat);
  if (!content) return false;
  const auto is_here = [this](const Id& id) { return writer_.has(BlobType::kData, id); };
  if (!std::all_of(content->begin(), content->end(), is_here)) return false;
  set_metadata(node, stat, device_id_of(*dir.root));
  node.size = stat.size_bytes;
  node.content = std::move(*content);
  TRY_ASSIGN(node.xattrs, read_xattrs(fd, dir, node.name));
  return true;
}

Status Archiver::store_file(const FileSlot& job, Worker& worker) {
  OpenDir& dir = *job.dir;
  Node& node = dir.nodes[job.slot];
  if (known_ != nullptr) {
    auto used = use_known(job);
    if (!used.ok() && !vanished(used.error())) return used.error();
    if (used.ok() && *used) {
      dir.root->bytes += node.size;
      bytes_done_ += node.size;
      ++dir.root->files;
      ++items_done_;
      report();
      return complete(job.dir, worker.store);
    }
  }
  auto opened = open_to_read(dir.dir, node.name);
  if (!opened.ok()) return opened.error();
  if (!opened->fd.valid()) {
    // It went away, or something that is no file took its name: the next capture has it.
    warn(*dir.root, printable(path_below(dir, node.name)) + " went away while it was read");
    node.name.clear();
    return complete(job.dir, worker.store);
  }
  const os::Stat stat = opened->stat;
  set_metadata(node, stat, device_id_of(*dir.root));
  TRY_ASSIGN(node.xattrs, read_xattrs(opened->fd, dir, node.name));

  auto file = std::make_shared<OpenFile>();
  file->fd = std::move(opened->fd);
  file->stat = stat;
  file->directory_bytes = dir.files_bytes;
  file->done = [this, job](OpenFile& read, StoreContext& store) {
    return end_file(job, read, store);
  };
  const std::string name = node.name;  // the node may be stored and gone when this fails
  const Status stored = files_.store(file, worker.buffer, worker.store);
  if (!stored.ok()) return stored.error().with_context(printable(path_below(dir, name)));
  return {};
}

// The last piece of a file is stored; store belongs to the thread that did it.
Status Archiver::end_file(const FileSlot& job, OpenFile& file, StoreContext& store) {
  OpenDir& dir = *job.dir;
  Node& node = dir.nodes[job.slot];
  node.size = file.size_bytes;
  node.content = std::move(file.content);
  dir.root->bytes += node.size;
  ++dir.root->files;
  ++items_done_;
  if (known_ != nullptr) {
    known_->remember({dir.root->index, path_below(dir, node.name), &dir.dir, node.name}, file.stat,
                     node.content);
  }
  report();
  return complete(job.dir, store);
}

Status Archiver::work() {
  Worker worker(repository_.master_key());
  while (auto job = jobs_.pop()) {
    if (auto* files = std::get_if<FileJob>(&*job)) {
      for (const std::size_t slot : files->slots) TRY(store_file({files->dir, slot}, worker));
    } else {
      TRY(files_.store_piece(std::move(std::get<FilePiece>(*job)), worker.buffer, worker.store));
    }
  }
  return {};
}

Status Archiver::walk_roots(const std::vector<ArchiveRoot>& roots) {
  StoreContext store(repository_.master_key());
  for (const ArchiveRoot& root : roots) {
    const std::string name = std::to_string(root.index);
    auto state = std::make_unique<OpenRoot>();
    state->index = root.index;
    state->node.name = name;
    TRY_ASSIGN(const os::Stat stat, root.dir->stat());
    state->mount_id = stat.mount_id;
    set_metadata(state->node, stat, device_id_of(*state));
    TRY_ASSIGN(os::Dir dir, root.dir->clone());
    auto open = std::make_shared<OpenDir>(nullptr, 0, std::move(dir), state.get(), "");
    TRY_ASSIGN(state->node.xattrs, read_xattrs(root.dir->fd(), *open, ""));
    OpenRoot& walked = *state;
    roots_.push_back(std::move(state));
    TRY(walk(open, store));
    if (const std::size_t outside = walked.links_missing.size(); outside != 0) {
      walked.links_outside = outside;
      warn(walked, links_outside_words(outside));
    }
    walked.links_missing.clear();
  }
  return {};
}

Status Archiver::store_roots(const std::vector<ArchiveRoot>& roots) {
  progress_.phase("store");
  roots_pending_ = roots.size();
  if (roots.empty()) return {};
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) {
    group_.run([this](const std::stop_token&) { return work(); });
  }
  const Status walked = walk_roots(roots);
  if (!walked.ok()) group_.fail(walked.error());
  Status done = group_.wait();
  if (done.ok()) return {};
  TRY(writer_.failure());
  return done;
}

Result<ArchiveResult> Archiver::finish(std::string_view manifest, std::vector<IndexedPack>& packs) {
  StoreContext store(repository_.master_key());
  ArchiveResult result;
  std::vector<Node> volumes;
  for (const auto& root : roots_) {
    volumes.push_back(root->node);
    result.roots.push_back({.index = root->index,
                            .bytes = root->bytes,
                            .files = root->files,
                            .dirs = root->dirs,
                            .sockets_skipped = root->sockets,
                            .links_outside = root->links_outside,
                            .mounts_skipped = root->mounts,
                            .warnings = *root->warnings.lock()});
  }
  TRY_ASSIGN(result.tree, store_top(writer_, manifest, std::move(volumes), store));
  TRY_ASSIGN(packs, writer_.finish());
  result.bytes_added = writer_.bytes_added();
  result.blobs_added = writer_.blobs_added();
  progress_.count({.bytes_done = bytes_done_, .items_done = items_done_});
  return result;
}

}  // namespace

Result<PendingSnapshot> archive(Repository& repository,
                                std::string_view manifest_json,
                                const std::vector<ArchiveRoot>& roots,
                                KnownFiles* known,
                                Progress& progress,
                                const std::stop_token& stop) {
  std::set<int> indexes;
  for (const ArchiveRoot& root : roots) {
    if (root.index < 0 || root.dir == nullptr || !indexes.insert(root.index).second) {
      return Error(Code::kInvalid, "roots need a directory and an index of their own");
    }
  }
  PendingSnapshot pending;
  TRY_ASSIGN(pending.lock, repository.lock(LockMode::kShared));
  TRY(repository.refresh_index());
  pending.paths.emplace_back(kManifestPath);
  for (const int index : indexes) pending.paths.push_back(volume_path(index));

  Archiver archiver(repository, known, progress, stop);
  TRY(archiver.store_roots(roots));
  TRY_ASSIGN(pending.result, archiver.finish(manifest_json, pending.packs));
  return pending;
}

}  // namespace cairn::repository
