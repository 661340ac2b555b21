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

class Cutter final : public ScanVisitor {
 public:
  Cutter(SessionState& session, std::int64_t deadline_ms, const CutLimit* limit)
      : session_(session), deadline_ms_(deadline_ms), limit_(limit) {}

  Status cut_root(const ArchiveRoot& given);
  [[nodiscard]] const CutResult& result() const { return result_; }
  // Why cut_root() failed: more changed than the limit allows.
  [[nodiscard]] bool too_much() const { return too_much_; }

 private:
  Status enter(const std::shared_ptr<ScanDir>& dir) override;
  Status leave(const std::shared_ptr<ScanDir>& dir) override;
  Status put_aside(const ScanDir& dir,
                   Fact& fact,
                   const Fact* before,
                   std::uint64_t directory_bytes);
  Status check_limit(std::uint64_t bytes);

  SessionState& session_;
  const std::int64_t deadline_ms_;
  const CutLimit* const limit_;
  std::uint64_t bytes_aside_ = 0;  // the sizes of what was put aside
  bool too_much_ = false;
  ScanRoot* root_ = nullptr;
  Spool* spool_ = nullptr;
  // Of a directory that the walk is in.
  struct Open {
    FactsPlace same;     // the last pass's facts, where all of them hold
    bool whole = false;  // and it was stored so, as far as is known yet with all beneath
  };
  std::vector<Open> open_;
  CutResult result_;
};

// Before a file of that size is put aside.
Status Cutter::check_limit(std::uint64_t bytes) {
  bytes_aside_ += bytes;
  too_much_ =
      limit_ != nullptr && (result_.files_changed == limit_->files || bytes_aside_ > limit_->bytes);
  if (!too_much_) return {};
  return Error(Code::kConflict, "more changed than a cut takes");
}

// before: the last pass's fact of that name. Leaves fact without a name where it vanished.
Status Cutter::put_aside(const ScanDir& dir,
                         Fact& fact,
                         const Fact* before,
                         std::uint64_t directory_bytes) {
  auto opened = open_to_read(dir.dir, fact.node.name);
  if (!opened.ok()) return opened.error();
  if (!opened->fd.valid()) {
    fact.node.name.clear();
    return {};
  }
  set_metadata(fact.node, opened->stat, fact.node.device_id);
  TRY_ASSIGN(fact.id, os::file_id_of(opened->fd));
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(opened->fd, fact.xattrs_lost));
  if (before != nullptr && (before->id != fact.id || !session_.is_stored(*before)))
    before = nullptr;
  TRY(check_limit(opened->stat.size_bytes));
  auto added = spool_->add(opened->fd, opened->stat, before, deadline_ms_);
  if (!added.ok()) return added.error().with_context("put aside");
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

Status Cutter::enter(const std::shared_ptr<ScanDir>& dir) {
  if (session_.stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
  TRY(check_deadline(deadline_ms_));
  const DirFacts* before = dir->known ? &*dir->known : nullptr;
  std::uint64_t directory_bytes = 0;
  for (const ScannedEntry& entry : dir->entries) {
    if (entry.fact.node.type == NodeType::kFile) directory_bytes += entry.fact.stat_bytes;
  }
  bool same = before != nullptr && before->entries.size() == dir->entries.size();
  for (ScannedEntry& entry : dir->entries) {
    Fact& fact = entry.fact;
    const bool removed = entry.unchanged && !session_.is_stored(fact);
    if (removed) entry.unchanged = false;
    same = same && entry.unchanged;
    if (fact.node.type != NodeType::kFile || entry.unchanged) continue;
    const Fact* old = before != nullptr && !removed ? before->find(fact.node.name) : nullptr;
    const std::string name = fact.node.name;
    const Status aside = put_aside(*dir, fact, old, directory_bytes);
    if (!aside.ok()) return aside.error().with_context(printable(path_below(*dir, name)));
  }
  open_.push_back({});
  if (same && session_.is_stored(*before)) {
    open_.back() = {.same = before->at, .whole = !before->tree.is_zero()};
  }
  session_.progress.add(0, dir->entries.size());
  return {};
}

Status Cutter::leave(const std::shared_ptr<ScanDir>& dir) {
  const auto vanished = [](const ScannedEntry& entry) { return entry.fact.node.name.empty(); };
  Open open = std::move(open_.back());
  open_.pop_back();
  const auto index = static_cast<std::uint32_t>(root_->index);
  const bool same = open.same.in && std::ranges::none_of(dir->entries, vanished);
  if (!open_.empty() && !(same && open.whole)) open_.back().whole = false;
  if (same) {
    session_.frozen->put_same(index, dir->id, open.same, open.whole);
    return {};
  }
  DirFacts out;
  out.entries.reserve(dir->entries.size());
  for (ScannedEntry& entry : dir->entries) {
    if (!vanished(entry)) out.entries.push_back(std::move(entry.fact));
  }
  return session_.frozen->put(index, dir->id, out);
}

Status Cutter::cut_root(const ArchiveRoot& given) {
  TRY_ASSIGN(ScanRoot root, ScanRoot::open(given));
  session_.roots.push_back(std::move(root));
  root_ = &session_.roots.back();
  TRY_ASSIGN(std::unique_ptr<Spool> spool, Spool::create(*given.dir, *session_.scratch));
  session_.spools.push_back(std::move(spool));
  spool_ = session_.spools.back().get();
  TRY(walk_tree(*root_, &*session_.known,
                session_.known_is_old ? KnownFrom::kBefore : KnownFrom::kThisSession,
                session_.since, *this));
  result_.entries += root_->entries;
  return spool_->seal();
}

}  // namespace

Result<std::optional<CutResult>> run_cut(SessionState& session,
                                         std::int64_t deadline_ms,
                                         const CutLimit* limit) {
  std::uint64_t entries = 0;  // of the last pass
  for (const ScanRoot& root : session.roots) entries += root.entries;
  session.progress.begin("cut");
  session.progress.expect(0, entries);
  TRY_ASSIGN(FactsFile frozen, FactsFile::create(*session.scratch));
  session.frozen = std::move(frozen);
  session.roots.clear();
  session.roots.reserve(session.given.size());
  Cutter cutter(session, deadline_ms, limit);
  for (const ArchiveRoot& root : session.given) {
    const Status cut = cutter.cut_root(root);
    const bool late = !cut.ok() && deadline_ms != 0 && monotonic_ms() >= deadline_ms;
    if (limit != nullptr && (cutter.too_much() || late)) {
      session.frozen.reset();
      session.spooled.clear();
      session.spools.clear();
      session.roots.clear();
      return std::optional<CutResult>();
    }
    if (!cut.ok()) return cut.error();
  }
  TRY(session.frozen->seal());
  session.progress.end();
  return std::optional(cutter.result());
}

}  // namespace cairn::repository
