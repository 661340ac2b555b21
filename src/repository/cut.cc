// The cut: the volumes hold still, and every directory is listed once more. What is not known for
// certain goes aside into spools; nothing is hashed but what is compared, nothing is stored.
#include <algorithm>

#include "base/strings.h"
#include "repository/entry.h"
#include "repository/file_store.h"
#include "repository/limits.h"
#include "repository/session_state.h"

namespace cairn::repository {

namespace {

class Cutter {
 public:
  Cutter(SessionState& session, std::int64_t deadline_ms)
      : session_(session), deadline_ms_(deadline_ms) {}

  Status cut_root(const ArchiveRoot& given);
  [[nodiscard]] const CutResult& result() const { return result_; }

 private:
  Status walk(const os::Dir& dir, const std::string& path, const os::FileId& id, std::size_t depth);
  Status walk_child(
      const os::Dir& dir, const std::string& path, Fact& fact, bool unchanged, std::size_t depth);
  Status put_aside(const os::Dir& dir,
                   const std::string& path,
                   Fact& fact,
                   const Fact* before,
                   std::uint64_t directory_bytes);

  SessionState& session_;
  const std::int64_t deadline_ms_;
  ScanRoot* root_ = nullptr;
  Spool* spool_ = nullptr;
  CutResult result_;
};

// before: the last pass's fact of that name. Leaves fact without a name where it vanished.
Status Cutter::put_aside(const os::Dir& dir,
                         const std::string& path,
                         Fact& fact,
                         const Fact* before,
                         std::uint64_t directory_bytes) {
  auto opened = open_to_read(dir, fact.node.name);
  if (!opened.ok()) return opened.error().with_context(printable(path));
  if (!opened->fd.valid()) {
    fact.node.name.clear();
    return {};
  }
  set_metadata(fact.node, opened->stat, fact.node.device_id);
  TRY_ASSIGN(fact.id, os::file_id_of(opened->fd));
  std::size_t lost = 0;
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(opened->fd, lost));
  if (lost != 0) root_->warn(lost_xattr_words(path));
  if (before != nullptr && before->id != fact.id) before = nullptr;
  auto added = spool_->add(opened->fd, opened->stat, before, deadline_ms_);
  if (!added.ok()) return added.error().with_context("put aside " + printable(path));
  fact.stat_bytes = added->file.stat.size_bytes;
  // Pages may be dirty that a later store changes without moving ctime: read again next time.
  fact.settled = false;
  ++result_.files_changed;
  ++root_->changed_files;
  root_->changed_bytes += added->bytes_cloned + added->bytes_copied;
  result_.bytes_cloned += added->bytes_cloned;
  result_.bytes_copied += added->bytes_copied;
  added->file.spool = session_.spools.size() - 1;
  added->file.directory_bytes = directory_bytes;
  session_.spooled.push_back(std::move(added->file));
  fact.spooled = static_cast<std::uint32_t>(session_.spooled.size());
  return {};
}

Status Cutter::walk_child(
    const os::Dir& dir, const std::string& path, Fact& fact, bool unchanged, std::size_t depth) {
  auto child = dir.open_dir(fact.node.name, os::Crossing::kRefuse);
  if (!child.ok() && os::is_gone(child.error())) {
    fact.node.name.clear();
    return {};
  }
  if (!child.ok()) return child.error().with_context(printable(path));
  if (!unchanged) TRY(read_directory_facts(*child, fact, *root_, path));
  return walk(*child, path, fact.id, depth + 1);
}

Status Cutter::walk(const os::Dir& dir,
                    const std::string& path,
                    const os::FileId& id,
                    std::size_t depth) {
  if (depth > kDepthMax) return Error(Code::kInvalid, "the tree is deeper than allowed");
  if (session_.stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
  TRY(check_deadline(deadline_ms_));
  const auto index = static_cast<std::uint32_t>(root_->index);
  TRY_ASSIGN(const std::optional<DirFacts> known, session_.known->find(index, id));
  const DirFacts* before = known ? &*known : nullptr;
  TRY_ASSIGN(std::vector<ScannedEntry> entries,
             scan_directory(dir, path, *root_, before, session_.since));
  std::uint64_t directory_bytes = 0;
  for (const ScannedEntry& entry : entries) {
    if (entry.fact.node.type == NodeType::kFile) directory_bytes += entry.fact.stat_bytes;
  }
  DirFacts out;
  bool same = before != nullptr && before->entries.size() == entries.size();
  for (ScannedEntry& entry : entries) {
    same = same && entry.unchanged;
    Fact& fact = entry.fact;
    if (fact.node.type == NodeType::kDir) {
      TRY(walk_child(dir, join_path(path, fact.node.name), fact, entry.unchanged, depth));
    } else if (fact.node.type == NodeType::kFile && !entry.unchanged) {
      const Fact* old = nullptr;
      if (before != nullptr) {
        const auto at = std::ranges::lower_bound(
            before->entries, fact.node.name, {},
            [](const Fact& one) -> const std::string& { return one.node.name; });
        if (at != before->entries.end() && at->node.name == fact.node.name) old = &*at;
      }
      TRY(put_aside(dir, join_path(path, fact.node.name), fact, old, directory_bytes));
    }
    if (!fact.node.name.empty()) out.entries.push_back(std::move(fact));
  }
  if (same) out.tree = before->tree;
  return session_.frozen->put(index, id, out);
}

Status Cutter::cut_root(const ArchiveRoot& given) {
  TRY_ASSIGN(ScanRoot root, ScanRoot::open(given));
  session_.roots.push_back(std::move(root));
  root_ = &session_.roots.back();
  TRY_ASSIGN(std::unique_ptr<Spool> spool, Spool::create(*given.dir, *session_.scratch));
  session_.spools.push_back(std::move(spool));
  spool_ = session_.spools.back().get();
  TRY(walk(*given.dir, "", root_->id, 0));
  result_.entries += root_->entries;
  if (const std::size_t outside = root_->links_missing.size(); outside != 0) {
    root_->warn(links_outside_words(outside));
  }
  return spool_->seal();
}

}  // namespace

Result<CutResult> run_cut(SessionState& session, std::int64_t deadline_ms) {
  TRY_ASSIGN(FactsFile frozen, FactsFile::create(*session.scratch));
  session.frozen = std::move(frozen);
  session.roots.clear();
  session.roots.reserve(session.given.size());
  Cutter cutter(session, deadline_ms);
  for (const ArchiveRoot& root : session.given) TRY(cutter.cut_root(root));
  TRY(session.frozen->seal());
  return cutter.result();
}

}  // namespace cairn::repository
