// After the cut: what was put aside is stored by several threads, then the trees, deepest first,
// by one. Directories that are as an earlier capture stored them keep their tree.
#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "base/strings.h"
#include "codec/chunker.h"
#include "parallel/bounded_queue.h"
#include "parallel/task_group.h"
#include "repository/file_store.h"
#include "repository/limits.h"
#include "repository/session_state.h"
#include "repository/top_tree.h"

namespace cairn::repository {

namespace {

// --- contents ------------------------------------------------------------------------------------

class SpoolStore {
 public:
  explicit SpoolStore(SessionState& session)
      : session_(session),
        files_(
            session.writer,
            [](FilePiece&) { return false; },
            [this](std::uint64_t bytes) { session_.progress.add(bytes, 0); }),
        group_(session.stop) {}

  Status run();

 private:
  Status work();
  Status store_whole(SpooledFile& spooled, Bytes& buffer, StoreContext& store);
  Status store_changed(SpooledFile& spooled, Bytes& buffer, StoreContext& store);

  SessionState& session_;
  FileStore files_;
  std::atomic<std::size_t> next_ = 0;
  parallel::TaskGroup group_;
};

Status SpoolStore::store_whole(SpooledFile& spooled, Bytes& buffer, StoreContext& store) {
  auto file = std::make_shared<OpenFile>();
  TRY_ASSIGN(file->fd, os::duplicate(session_.spools[spooled.spool]->fd()));
  file->stat = spooled.stat;
  file->offset = spooled.offset;
  file->directory_bytes = spooled.directory_bytes;
  file->done = [&spooled](OpenFile& read, StoreContext&) -> Status {
    spooled.content = std::move(read.content);
    spooled.fixed_bytes = static_cast<std::uint32_t>(read.fixed_bytes);
    return {};
  };
  return files_.store(file, buffer, store);
}

Status SpoolStore::store_changed(SpooledFile& spooled, Bytes& buffer, StoreContext& store) {
  const os::Fd& fd = session_.spools[spooled.spool]->fd();
  buffer.resize(std::max<std::size_t>(buffer.size(), spooled.fixed_bytes));
  for (std::size_t i = 0; i < spooled.content.size(); ++i) {
    if (!spooled.content[i].is_zero()) continue;
    const std::uint64_t begin = std::uint64_t{i} * spooled.fixed_bytes;
    const std::size_t length =
        std::min<std::uint64_t>(spooled.fixed_bytes, spooled.stat.size_bytes - begin);
    const auto bytes = std::span(buffer).first(length);
    TRY_ASSIGN(const std::size_t got, os::read_at(fd, bytes, spooled.offset + begin));
    if (got < length) return Error(Code::kCorrupt, "a spool is shorter than what was put into it");
    if (codec::is_zero(bytes)) {
      TRY_ASSIGN(spooled.content[i], session_.writer.store_zeros(length, store));
    } else {
      TRY_ASSIGN(spooled.content[i], session_.writer.store(BlobType::kData, bytes, store));
    }
  }
  return {};
}

Status SpoolStore::work() {
  StoreContext store(session_.repository.master_key());
  Bytes buffer;
  while (true) {
    const std::size_t mine = next_++;
    if (mine >= session_.spooled.size()) return {};
    if (group_.stop_token().stop_requested()) return Error(Code::kCancelled, "cancelled");
    SpooledFile& spooled = session_.spooled[mine];
    TRY(spooled.fixed_bytes != 0 ? store_changed(spooled, buffer, store)
                                 : store_whole(spooled, buffer, store));
    session_.progress.add(0, 1);
  }
}

Status SpoolStore::run() {
  if (session_.spooled.empty()) return {};
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) {
    group_.run([this](const std::stop_token&) { return work(); });
  }
  Status done = group_.wait();
  if (done.ok()) return {};
  TRY(session_.writer.failure());
  return done;
}

// --- trees ---------------------------------------------------------------------------------------

class TreeStore {
 public:
  explicit TreeStore(SessionState& session)
      : session_(session), store_(session.repository.master_key()) {}

  // The node of /volumes/<index> with its subtree, and what was found in it.
  Result<Node> store_root(const ScanRoot& root, RootStats& stats);
  StoreContext& context() { return store_; }

 private:
  // A directory whose subdirectories are being stored.
  struct Level {
    DirFacts facts;
    os::FileId id;
    bool same = false;     // as an earlier capture stored it
    std::size_t next = 0;  // entry to look at
    Beneath beneath;       // as far as is known yet
  };

  // What the first name of a file with several had, until all names were met.
  struct Linked {
    std::vector<Id> content;
    std::uint64_t size = 0;
    std::uint32_t fixed_bytes = 0;
    std::uint64_t names_left = 0;
  };

  Status enter(const os::FileId& id);
  Status leave();
  void unite(Level& level, Fact& fact);
  void stored(const Id& tree, const Beneath& beneath);
  void look_at(Level& level, Fact& fact);
  [[nodiscard]] std::string path_of(std::string_view name) const;
  Result<Id> store_tree(const DirFacts& facts);

  SessionState& session_;
  StoreContext store_;
  std::uint32_t index_ = 0;  // of the root at hand
  RootStats* stats_ = nullptr;
  std::vector<Level> levels_;
  std::map<os::FileId, Linked> linked_;
  Id root_tree_;
  Beneath in_root_;
};

void add_warning(RootStats& stats, std::string sentence) {
  if (stats.warnings.size() < kWarningsMax) stats.warnings.push_back(std::move(sentence));
}

// The format has no place for a name that is not UTF-8: better left out than changed.
void warn_of_lost(RootStats& stats, std::size_t lost, const std::string& path) {
  if (lost == 0) return;
  add_warning(stats, std::to_string(lost) + " extended attributes of /" + printable(path) +
                         " are left out: their names are not UTF-8");
}

// Of the entry name in the directory at hand.
std::string TreeStore::path_of(std::string_view name) const {
  std::string path;
  for (std::size_t i = 0; i + 1 < levels_.size(); ++i) {
    const Level& above = levels_[i];
    path += above.facts.entries[above.next - 1].node.name + "/";
  }
  path += name;
  return path;
}

Result<Id> TreeStore::store_tree(const DirFacts& facts) {
  std::vector<Node> nodes;
  nodes.reserve(facts.entries.size());
  for (const Fact& fact : facts.entries) nodes.push_back(fact.node);
  const std::string json = encode_tree(nodes);
  if (json.size() > kTreeBlobBytesMax) {
    return Error(Code::kInvalid, "a directory has more entries than can be stored");
  }
  return session_.writer.store(BlobType::kTree, as_bytes(json), store_);
}

// What is as it was stored, with all beneath, is not entered: it counts and is there already.
Status TreeStore::enter(const os::FileId& id) {
  if (session_.stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
  TRY_ASSIGN(std::optional<DirFacts> facts, session_.frozen->find(index_, id));
  if (!facts) return Error(Code::kInternal, "a directory of the cut is missing");
  const bool same = !facts->tree.is_zero() && session_.writer.has(BlobType::kTree, facts->tree);
  if (same && facts->whole && facts->beneath.xattrs_lost == 0) {
    session_.progress.add(0, facts->beneath.files + facts->beneath.dirs - 1);
    stored(facts->tree, facts->beneath);
    return {};
  }
  levels_.push_back({.facts = std::move(*facts), .id = id, .same = same, .beneath = {.dirs = 1}});
  return {};
}

// Tells the level above of a directory in it.
void TreeStore::stored(const Id& tree, const Beneath& beneath) {
  if (levels_.empty()) {
    root_tree_ = tree;
    in_root_ = beneath;
    return;
  }
  Level& above = levels_.back();
  Fact& fact = above.facts.entries[above.next - 1];
  above.same = above.same && fact.node.subtree == tree;
  fact.node.subtree = tree;
  above.beneath += beneath;
}

// Fills in what the cut put aside, and counts.
void TreeStore::look_at(Level& level, Fact& fact) {
  if (fact.xattrs_lost != 0) warn_of_lost(*stats_, fact.xattrs_lost, path_of(fact.node.name));
  level.beneath.xattrs_lost += fact.xattrs_lost;
  if (fact.node.type == NodeType::kDir) return;
  if (fact.spooled != 0) {
    const SpooledFile& spooled = session_.spooled[fact.spooled - 1];
    fact.node.content = spooled.content;
    fact.node.size = spooled.stat.size_bytes;
    fact.fixed_bytes = spooled.fixed_bytes;
    fact.spooled = 0;
    level.same = false;
  }
  ++level.beneath.files;
  if (fact.node.type != NodeType::kFile) return;
  if (fact.node.links > 1) unite(level, fact);
  level.beneath.bytes += fact.node.size;
}

// All names of one file get the content of the first. Each was read for itself, and chunks may have
// been cut in different ways: the same bytes, but nobody would see that without reading them.
void TreeStore::unite(Level& level, Fact& fact) {
  const auto [at, is_first] = linked_.try_emplace(fact.id);
  Linked& linked = at->second;
  if (is_first) {
    linked = {.content = fact.node.content,
              .size = fact.node.size,
              .fixed_bytes = fact.fixed_bytes,
              .names_left = fact.node.links - 1};
    return;
  }
  if (fact.node.content != linked.content || fact.node.size != linked.size) {
    fact.node.content = linked.content;
    fact.node.size = linked.size;
    fact.fixed_bytes = linked.fixed_bytes;
    level.same = false;
  }
  if (--linked.names_left == 0) linked_.erase(at);
}

// The last level, whose subdirectories are all stored.
Status TreeStore::leave() {
  Level level = std::move(levels_.back());
  levels_.pop_back();
  DirFacts& facts = level.facts;
  session_.progress.add(0, facts.entries.size());
  if (!level.same) {
    TRY_ASSIGN(facts.tree, store_tree(facts));
    facts.beneath = level.beneath;
    TRY(session_.stored->replace(index_, level.id, facts));
  }
  stored(facts.tree, level.beneath);
  return {};
}

Result<Node> TreeStore::store_root(const ScanRoot& root, RootStats& stats) {
  index_ = static_cast<std::uint32_t>(root.index);
  stats_ = &stats;
  linked_.clear();
  TRY(enter(root.id));
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.next == level.facts.entries.size()) {
      TRY(leave());
      continue;
    }
    Fact& fact = level.facts.entries[level.next++];
    look_at(level, fact);
    if (fact.node.type == NodeType::kDir) TRY(enter(fact.id));
  }
  Node node = root.node;
  node.subtree = root_tree_;
  stats.index = root.index;
  stats.bytes = in_root_.bytes;
  stats.files = in_root_.files;
  stats.dirs = in_root_.dirs;
  stats.sockets_skipped = root.sockets;
  stats.mounts_skipped = root.mounts;
  stats.links_outside = root.links_missing.size();
  stats.walked = root.entries;
  stats.changed_files = root.changed_files;
  stats.changed_bytes = root.changed_bytes;
  warn_of_lost(stats, root.xattrs_lost, "");
  if (stats.links_outside != 0) add_warning(stats, links_outside_words(stats.links_outside));
  return node;
}

}  // namespace

Result<PendingSnapshot> run_store(SessionState& session, std::string_view manifest) {
  session.progress.begin("store");
  TRY(SpoolStore(session).run());
  TRY_ASSIGN(FactsFile stored, FactsFile::create(*session.scratch));
  session.stored = std::move(stored);
  session.stored->inherit(*session.frozen);
  TreeStore trees(session);
  ArchiveResult& result = session.pending.result;
  std::vector<Node> volumes;
  for (const ScanRoot& root : session.roots) {
    RootStats stats;
    TRY_ASSIGN(Node node, trees.store_root(root, stats));
    volumes.push_back(std::move(node));
    result.roots.push_back(std::move(stats));
  }
  TRY(session.stored->seal());
  TRY_ASSIGN(result.tree, store_top(session.writer, manifest, std::move(volumes), trees.context()));
  session.pending.repository = &session.repository;
  TRY_ASSIGN(session.pending.packs, session.writer.finish());
  result.bytes_added = session.writer.bytes_added();
  result.blobs_added = session.writer.blobs_added();
  session.progress.end();
  return std::move(session.pending);
}

}  // namespace cairn::repository
