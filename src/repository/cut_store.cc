// After the cut: what was put aside is stored by several threads, then the trees, deepest first,
// by one. Directories that are as an earlier capture stored them keep their tree.
#include <algorithm>
#include <atomic>
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

  // The node of /volumes/<index> with its subtree, and what it counted.
  Result<Node> store_root(const ScanRoot& root, RootStats& stats);
  StoreContext& context() { return store_; }

 private:
  Result<Id> store_directory(const ScanRoot& root,
                             const os::FileId& id,
                             RootStats& stats,
                             std::size_t depth);
  void fill_in(Fact& fact);
  Result<Id> store_tree(const DirFacts& facts);

  SessionState& session_;
  StoreContext store_;
};

void TreeStore::fill_in(Fact& fact) {
  if (fact.spooled == 0) return;
  const SpooledFile& spooled = session_.spooled[fact.spooled - 1];
  fact.node.content = spooled.content;
  fact.node.size = spooled.stat.size_bytes;
  fact.fixed_bytes = spooled.fixed_bytes;
  fact.spooled = 0;
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

Result<Id> TreeStore::store_directory(const ScanRoot& root,
                                      const os::FileId& id,
                                      RootStats& stats,
                                      std::size_t depth) {
  if (session_.stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
  const auto index = static_cast<std::uint32_t>(root.index);
  TRY_ASSIGN(std::optional<DirFacts> facts, session_.frozen->find(index, id));
  if (!facts) return Error(Code::kInternal, "a directory of the cut is missing");
  bool same = !facts->tree.is_zero() && session_.writer.has(BlobType::kTree, facts->tree);
  ++stats.dirs;
  for (Fact& fact : facts->entries) {
    fill_in(fact);
    if (fact.node.type == NodeType::kDir) {
      TRY_ASSIGN(const Id subtree, store_directory(root, fact.id, stats, depth + 1));
      same = same && subtree == fact.node.subtree;
      fact.node.subtree = subtree;
      continue;
    }
    ++stats.files;
    if (fact.node.type == NodeType::kFile) stats.bytes += fact.node.size;
  }
  if (!same) {
    TRY_ASSIGN(facts->tree, store_tree(*facts));
  }
  TRY(session_.stored->put(index, id, *facts));
  session_.progress.add(0, facts->entries.size());
  return facts->tree;
}

Result<Node> TreeStore::store_root(const ScanRoot& root, RootStats& stats) {
  Node node = root.node;
  TRY_ASSIGN(node.subtree, store_directory(root, root.id, stats, 0));
  stats.index = root.index;
  stats.sockets_skipped = root.sockets;
  stats.mounts_skipped = root.mounts;
  stats.warnings = root.warnings;
  stats.links_outside = root.links_missing.size();
  stats.walked = root.entries;
  stats.changed_files = root.changed_files;
  stats.changed_bytes = root.changed_bytes;
  return node;
}

}  // namespace

Result<PendingSnapshot> run_store(SessionState& session, std::string_view manifest) {
  session.progress.begin("store");
  TRY(SpoolStore(session).run());
  TRY_ASSIGN(FactsFile stored, FactsFile::create(*session.scratch));
  session.stored = std::move(stored);
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
  TRY_ASSIGN(session.pending.packs, session.writer.finish());
  result.bytes_added = session.writer.bytes_added();
  result.blobs_added = session.writer.blobs_added();
  session.progress.end();
  return std::move(session.pending);
}

}  // namespace cairn::repository
