#include "repository/restorer.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/strings.h"
#include "parallel/task_group.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/limits.h"
#include "repository/lock.h"
#include "repository/node_writer.h"
#include "repository/restore_window.h"
#include "repository/tree_path.h"

namespace cairn::repository {

namespace {

constexpr std::int64_t kProgressEveryMs = 200;
constexpr std::size_t kPathStepBytes = 2048;  // of a path that is opened by one call: PATH_MAX

// A directory whose subdirectories are being made.
struct Level {
  std::shared_ptr<RestoreDir> dir;
  std::vector<Node> children;  // that are left, last one first
};

// Relative to the target. Made when it is asked for, as deep trees have paths longer than memory.
std::string path_below(const RestoreDir& dir, std::string_view name) {
  std::vector<std::string_view> parts{name};
  for (const RestoreDir* at = &dir; at->parent; at = at->parent.get()) {
    parts.emplace_back(at->node.name);
  }
  std::string path;
  for (std::size_t i = parts.size(); i-- > 0;) {
    path += parts[i];
    if (i != 0) path += '/';
  }
  return path;
}

// Opens a directory that may lie deeper than one path can tell.
Result<os::Dir> open_below(const os::Dir& base, std::string_view path) {
  TRY_ASSIGN(os::Dir dir, base.clone());
  while (!path.empty()) {
    std::size_t end = path.size();
    if (end > kPathStepBytes) end = path.rfind('/', kPathStepBytes);
    TRY_ASSIGN(dir, dir.open_dir(std::string(path.substr(0, end)), os::Crossing::kRefuse));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return dir;
}

// The first entry of a hard-linked group, as this restore made it.
struct LinkGroup {
  std::string path;         // relative to the target
  std::uint64_t inode = 0;  // on the file system that is written
  std::uint64_t device = 0;
  Id content;  // of what it holds: an entry that differs is no link to it
  std::uint64_t links_left = 0;
};

// What two entries must agree on to be one inode. Times may differ: a running workload was read.
Id fingerprint(const Node& node) {
  Node compared;
  compared.name = "x";
  compared.type = node.type;
  compared.size = node.size;
  compared.link_target = node.link_target;
  compared.device = node.device;
  compared.content = node.content;
  return codec::sha256(as_bytes(encode_tree(std::span(&compared, 1))));
}

class Restorer {
 public:
  Restorer(Repository& repository, Progress& progress, const std::stop_token& stop)
      : repository_(repository),
        index_(repository.index()),
        progress_(progress),
        stop_(stop),
        reader_(repository) {}
  ~Restorer() = default;

  Status restore_root(Node root, const os::Dir& target);
  // One target is done.
  Status finish() {
    TRY(dispatch());
    return wait();
  }
  // All are.
  Status end() { return sync_ahead_.finish(); }
  [[nodiscard]] RestoreStats stats() const {
    return {.bytes = bytes_, .entries = entries_, .sockets_skipped = sockets_};
  }

 private:
  Status walk(std::shared_ptr<RestoreDir> top);
  Result<Level> enter(std::shared_ptr<RestoreDir> dir);
  Result<std::shared_ptr<RestoreDir>> make_child(const std::shared_ptr<RestoreDir>& dir, Node node);
  Status restore_entry(const std::shared_ptr<RestoreDir>& dir, Node node);
  Status restore_file(const std::shared_ptr<RestoreDir>& dir, Node node);
  Status add_content(const std::shared_ptr<RestoreFile>& file, const std::vector<Id>& content);
  Result<bool> link_to_first(const RestoreDir& dir, const Node& node);
  Status remember_first(const RestoreDir& dir, const Node& node);
  Status dispatch();
  Status wait();
  void wrote(std::uint64_t bytes);

  using LinkKey = std::pair<std::uint64_t, std::uint64_t>;

  Repository& repository_;
  const std::shared_ptr<const BlobIndex> index_;
  Progress& progress_;
  const std::stop_token stop_;
  BlobReader reader_;  // of the walking thread
  const os::Dir* target_ = nullptr;
  std::optional<os::Xattr> label_;      // the target's own, which everything below it gets
  std::map<LinkKey, LinkGroup> links_;  // of one target

  SyncAhead sync_ahead_;
  std::unique_ptr<RestoreWindow> window_;  // being planned
  std::size_t window_files_ = 0;
  std::size_t window_open_files_ = 0;
  std::size_t window_dirs_ = 0;

  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<std::uint64_t> entries_ = 0;
  std::atomic<std::int64_t> reported_ms_ = 0;
  std::uint64_t sockets_ = 0;

  std::unique_ptr<RestoreWindow> running_window_;
  std::unique_ptr<parallel::TaskGroup> running_;  // runs running_window_; goes first
};

void Restorer::wrote(std::uint64_t bytes) {
  bytes_ += bytes;
  const std::int64_t now = monotonic_ms();
  std::int64_t last = reported_ms_;
  if (now - last < kProgressEveryMs || !reported_ms_.compare_exchange_strong(last, now)) return;
  progress_.count({.bytes_done = bytes_, .items_done = entries_});
}

Status Restorer::wait() {
  if (!running_) return {};
  const Status done = running_->wait();
  running_.reset();
  running_window_.reset();
  return done;
}

// Lets the planned window run while the next one is planned.
Status Restorer::dispatch() {
  TRY(wait());
  if (stop_.stop_requested()) return Error(Code::kCancelled, "cancelled");
  window_files_ = window_open_files_ = window_dirs_ = 0;
  if (!window_ || window_->empty()) return {};
  running_window_ = std::move(window_);
  running_ = std::make_unique<parallel::TaskGroup>(stop_);
  running_->run([this, window = running_window_.get()](const std::stop_token& stop) {
    return window->run(stop, [this](std::uint64_t bytes) { wrote(bytes); });
  });
  return {};
}

Status Restorer::restore_root(Node root, const os::Dir& target) {
  if (root.type != NodeType::kDir) {
    return Error(Code::kInvalid, "what should be restored is not a directory");
  }
  TRY_ASSIGN(const std::vector<os::Entry> present, target.list());
  if (!present.empty()) return Error(Code::kInvalid, "the directory to restore into is not empty");
  TRY_ASSIGN(label_, label_of(target));
  set_label(root, label_);
  TRY(clear_inherited(target));
  TRY_ASSIGN(os::Dir dir, target.clone());
  target_ = &target;
  links_.clear();
  ++entries_;
  return walk(std::make_shared<RestoreDir>(nullptr, std::move(dir), std::move(root)));
}

// Makes all entries but the subdirectories, which are what is left.
Result<Level> Restorer::enter(std::shared_ptr<RestoreDir> dir) {
  if (stop_.stop_requested()) return Error(Code::kCancelled, "cancelled");
  TRY_ASSIGN(std::vector<Node> nodes, reader_.load_tree(dir->node.subtree));
  Level level{.dir = std::move(dir), .children = {}};
  for (Node& node : nodes) {
    set_label(node, label_);
    if (node.type == NodeType::kDir) {
      level.children.push_back(std::move(node));
      continue;
    }
    if (node.type == NodeType::kSocket) {
      ++sockets_;
      continue;
    }
    const std::string name = node.name;
    const Status restored = restore_entry(level.dir, std::move(node));
    if (!restored.ok())
      return restored.error().with_context(printable(path_below(*level.dir, name)));
  }
  std::reverse(level.children.begin(), level.children.end());
  return level;
}

Result<std::shared_ptr<RestoreDir>> Restorer::make_child(const std::shared_ptr<RestoreDir>& dir,
                                                         Node node) {
  TRY(dir->dir.make_dir(node.name, 0700));
  TRY_ASSIGN(os::Dir opened, dir->dir.open_dir(node.name, os::Crossing::kRefuse));
  ++entries_;
  ++dir->pending;
  return std::make_shared<RestoreDir>(dir, std::move(opened), std::move(node));
}

// In depth first, without recursion: trees may be deeper than a stack is.
Status Restorer::walk(std::shared_ptr<RestoreDir> top) {
  std::vector<Level> levels;
  TRY_ASSIGN(Level first, enter(std::move(top)));
  levels.push_back(std::move(first));
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.children.empty()) {
      TRY(release(std::move(level.dir)));
      levels.pop_back();
      if (!levels.empty() && ++window_dirs_ >= kWindowDirs) TRY(dispatch());
      continue;
    }
    if (levels.size() > kDepthMax) {
      return Error(Code::kInvalid, "the tree is deeper than allowed");
    }
    Node node = std::move(level.children.back());
    level.children.pop_back();
    TRY_ASSIGN(std::shared_ptr<RestoreDir> child, make_child(level.dir, std::move(node)));
    TRY_ASSIGN(Level below, enter(std::move(child)));
    levels.push_back(std::move(below));
  }
  return {};
}

Status Restorer::restore_entry(const std::shared_ptr<RestoreDir>& dir, Node node) {
  ++entries_;
  if (node.links > 1) {
    TRY_ASSIGN(const bool linked, link_to_first(*dir, node));
    if (linked) {
      if (node.type == NodeType::kFile) wrote(node.size);
      return {};
    }
  }
  switch (node.type) {
    case NodeType::kFile:
      return restore_file(dir, std::move(node));
    case NodeType::kSymlink:
    case NodeType::kDevice:
    case NodeType::kCharDevice:
    case NodeType::kFifo:
      TRY(make_special(dir->dir, node));
      return node.links > 1 ? remember_first(*dir, node) : Status();
    case NodeType::kDir:
    case NodeType::kSocket:
    case NodeType::kIrregular:
      break;
  }
  return Error(Code::kCorrupt, "an entry of a type that cannot be restored");
}

Status Restorer::restore_file(const std::shared_ptr<RestoreDir>& dir, Node node) {
  if (!window_) window_ = std::make_unique<RestoreWindow>(repository_, sync_ahead_);
  const std::vector<Id> content = std::exchange(node.content, {});
  if (content.empty() && node.size != 0) {
    return Error(Code::kCorrupt, "the file's content is missing");
  }
  auto file = std::make_shared<RestoreFile>();
  file->dir = dir;
  file->node = std::move(node);
  file->pending = content.size();
  ++dir->pending;
  if (file->node.links > 1) {
    // The other names are linked to it at once, so it must be there.
    TRY(open_new(*file));
    Node whole = file->node;
    whole.content = content;
    TRY(remember_first(*dir, whole));
  }
  if (file->node.links > 1 || content.size() > 1) ++window_open_files_;
  if (content.empty()) {
    window_->add_empty(file);
  } else {
    TRY(add_content(file, content));
  }
  if (++window_files_ >= kWindowFiles || window_open_files_ >= kWindowOpenFiles) return dispatch();
  return {};
}

Status Restorer::add_content(const std::shared_ptr<RestoreFile>& file,
                             const std::vector<Id>& content) {
  // Everything is looked up before the first byte is written.
  std::uint64_t size = 0;
  for (const Id& id : content) {
    const auto location = index_->find(BlobType::kData, id);
    if (!location) {
      return Error(Code::kCorrupt, "blob " + id.hex().substr(0, 8) + " is not in the index");
    }
    TRY(check_blob_size(location->blob));
    size += plain_size(location->blob);
  }
  if (size != file->node.size) {
    return Error(Code::kCorrupt, "the content is not as long as the file");
  }
  std::uint64_t offset = 0;
  for (const Id& id : content) {
    const auto location = index_->find(BlobType::kData, id);
    window_->add(file, *location, offset);
    offset += plain_size(location->blob);
    if (window_->blobs() < kWindowBlobs) continue;
    TRY(dispatch());
    window_ = std::make_unique<RestoreWindow>(repository_, sync_ahead_);
    ++window_open_files_;
  }
  return {};
}

// Only ever links to an inode that this restore made: it is opened again beneath the target, which
// nobody else can enter, and compared.
Result<bool> Restorer::link_to_first(const RestoreDir& dir, const Node& node) {
  const auto found = links_.find({node.inode, node.device_id});
  if (found == links_.end() || found->second.content != fingerprint(node)) return false;
  LinkGroup& group = found->second;
  const std::size_t slash = group.path.rfind('/');
  const bool nested = slash != std::string::npos;
  TRY_ASSIGN(const os::Dir holder,
             open_below(*target_, std::string_view(group.path).substr(0, nested ? slash : 0)));
  TRY_ASSIGN(const os::Fd first, holder.open_path(group.path.substr(nested ? slash + 1 : 0)));
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(first));
  if (stat.inode != group.inode || stat.device != group.device) {
    return Error(Code::kConflict, "the directory is being changed by somebody else");
  }
  TRY(dir.dir.link_file(first, node.name));
  if (--group.links_left == 0) links_.erase(found);
  return true;
}

Status Restorer::remember_first(const RestoreDir& dir, const Node& node) {
  TRY_ASSIGN(const os::Stat stat, dir.dir.stat(node.name));
  links_[{node.inode, node.device_id}] = {.path = path_below(dir, node.name),
                                          .inode = stat.inode,
                                          .device = stat.device,
                                          .content = fingerprint(node),
                                          .links_left = node.links - 1};
  return {};
}

// Sizes of subtrees, each read once however often it is named: a few small trees can name each
// other so that they stand for more entries than any disk holds.
class Measurer {
 public:
  explicit Measurer(Repository& repository) : reader_(repository) {}

  Result<StoredSize> measure(const Id& top) {
    std::vector<Level> levels;
    TRY(enter(top, levels));
    while (!levels.empty()) {
      Level& level = levels.back();
      if (level.children.empty()) {
        known_[level.tree] = level.size;
        levels.pop_back();
        continue;
      }
      const Id child = level.children.back();
      if (const auto known = known_.find(child); known != known_.end()) {
        add(level.size.bytes, known->second.bytes);
        add(level.size.entries, known->second.entries);
        add(level.size.files, known->second.files);
        level.children.pop_back();
        continue;
      }
      if (levels.size() > kDepthMax) {
        return Error(Code::kInvalid, "the tree is deeper than allowed");
      }
      TRY(enter(child, levels));
    }
    return known_[top];
  }

 private:
  // A tree whose subtrees are not all known yet.
  struct Level {
    Id tree;
    std::vector<Id> children;
    StoredSize size;
  };

  Status enter(const Id& tree, std::vector<Level>& levels) {
    TRY_ASSIGN(const std::vector<Node> nodes, reader_.load_tree(tree));
    Level level{.tree = tree, .children = {}, .size = {}};
    for (const Node& node : nodes) {
      add(level.size.entries, 1);
      if (node.type == NodeType::kFile) add(level.size.bytes, node.size);
      if (node.type == NodeType::kDir) {
        level.children.push_back(node.subtree);
      } else {
        add(level.size.files, 1);
      }
    }
    levels.push_back(std::move(level));
    return {};
  }

  static void add(std::uint64_t& sum, std::uint64_t value) {
    sum = value > UINT64_MAX - sum ? UINT64_MAX : sum + value;
  }

  BlobReader reader_;
  std::unordered_map<Id, StoredSize, codec::IdHash> known_;
};

}  // namespace

Result<RestoreStats> restore(Repository& repository,
                             const Id& snapshot,
                             const std::vector<RestoreTarget>& targets,
                             Progress& progress,
                             const std::stop_token& stop) {
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kShared));
  TRY(repository.refresh_index());
  TRY_ASSIGN(const SnapshotInfo info, repository.snapshot(snapshot));
  BlobReader reader(repository);
  std::vector<Node> roots;
  for (const RestoreTarget& target : targets) {
    TRY_ASSIGN(Node root, find_node(reader, info.tree, target.path));
    roots.push_back(std::move(root));
  }
  progress.phase("restore");
  Restorer restorer(repository, progress, stop);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Status restored = restorer.restore_root(std::move(roots[i]), *targets[i].dir);
    // Links are looked up beneath their own target, and its directory is final, before the next.
    const Status finished = restored.ok() ? restorer.finish() : restored;
    if (!finished.ok()) return finished.error().with_context(printable(targets[i].path));
  }
  TRY(restorer.end());
  const RestoreStats stats = restorer.stats();
  progress.count({.bytes_done = stats.bytes, .items_done = stats.entries});
  return stats;
}

Result<StoredSize> measure(Repository& repository, const Id& snapshot, const std::string& path) {
  TRY(repository.refresh_index());
  TRY_ASSIGN(const SnapshotInfo info, repository.snapshot(snapshot));
  BlobReader reader(repository);
  TRY_ASSIGN(const Node root, find_node(reader, info.tree, path));
  if (root.type != NodeType::kDir) {
    return StoredSize{.bytes = root.size, .entries = 1, .files = 1};
  }
  return measure_tree(repository, root.subtree);
}

Result<StoredSize> measure_tree(Repository& repository, const Id& tree) {
  TRY_ASSIGN(StoredSize size, Measurer(repository).measure(tree));
  if (size.entries != UINT64_MAX) ++size.entries;
  return size;
}

Result<std::string> read_file(Repository& repository,
                              const Id& snapshot,
                              const std::string& path,
                              std::size_t max_bytes) {
  TRY(repository.refresh_index());
  TRY_ASSIGN(const SnapshotInfo info, repository.snapshot(snapshot));
  BlobReader reader(repository);
  TRY_ASSIGN(const Node node, find_node(reader, info.tree, path));
  if (node.type != NodeType::kFile) return Error(Code::kInvalid, printable(path) + " is no file");
  std::string out;
  for (const Id& id : node.content) {
    const auto location = repository.index()->find(BlobType::kData, id);
    if (location && plain_size(location->blob) > max_bytes - out.size()) {
      return Error(Code::kInvalid, printable(path) + " is larger than allowed");
    }
    TRY_ASSIGN(const Bytes bytes, reader.load(BlobType::kData, id));
    out += as_text(bytes);
  }
  return out;
}

}  // namespace cairn::repository
