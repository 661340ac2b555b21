#include "repository/scan.h"

#include <algorithm>

#include "base/strings.h"
#include "repository/entry.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;
constexpr unsigned kNestedDeviceShift = 32;  // device ids of nested subvolumes stay apart

std::uint64_t device_id_of(ScanRoot& root, std::uint64_t device) {
  const std::uint64_t ordinal = root.devices.size();
  const std::uint64_t id = kDeviceIdBase + static_cast<std::uint64_t>(root.index);
  return root.devices.try_emplace(device, id + (ordinal << kNestedDeviceShift)).first->second;
}

bool is_same(const Fact& fact, const os::Stat& stat, const os::FileId& id) {
  return fact.settled && fact.id == id && fact.node.type == node_type(stat.type) &&
         fact.stat_bytes == stat.size_bytes && fact.node.mtime == stat.mtime &&
         fact.node.ctime == stat.ctime;
}

// Links, fifos and devices: everything there is to know. False where it vanished.
Result<bool> read_special(const os::Dir& dir, Fact& fact) {
  auto fd = dir.open_path(fact.node.name);
  if (!fd.ok()) {
    if (fd.error().code() == Code::kNotFound) return false;
    return fd.error();
  }
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(*fd, fact.xattrs_lost));
  if (fact.node.type != NodeType::kSymlink) return true;
  auto target = dir.read_link(fact.node.name);
  if (!target.ok()) {
    // Something else took the name: it is left out, and found by the next pass.
    if (target.error().code() == Code::kNotFound || target.error().code() == Code::kInvalid) {
      return false;
    }
    return target.error();
  }
  fact.node.link_target = std::move(*target);
  return true;
}

// The known fact of that name; from moves forward.
const Fact* find_known(const DirFacts* known, const std::string& name, std::size_t& from) {
  if (known == nullptr) return nullptr;
  while (from < known->entries.size() && known->entries[from].node.name < name) ++from;
  if (from == known->entries.size() || known->entries[from].node.name != name) return nullptr;
  return &known->entries[from];
}

}  // namespace

std::string links_outside_words(std::size_t files) {
  return std::to_string(files) +
         " files have further names (hard links) outside of this volume: a restore makes them "
         "files "
         "of their own";
}

bool is_before(Timespec changed, Timespec since) {
  const std::int64_t limit_ns = static_cast<std::int64_t>(since.nanoseconds) - 2 * kClockTickNs;
  const Timespec limit{since.seconds + (limit_ns < 0 ? -1 : 0),
                       static_cast<std::uint32_t>(limit_ns < 0 ? limit_ns + kNsPerS : limit_ns)};
  return changed < limit;
}

ScanDir::ScanDir(std::shared_ptr<ScanDir> above_it,
                 std::string its_name,
                 os::Dir its_dir,
                 os::FileId its_id)
    : above(std::move(above_it)), name(std::move(its_name)), dir(std::move(its_dir)), id(its_id) {}

// Those above go one by one: by recursion a deep tree would need a deep stack.
ScanDir::~ScanDir() {
  std::shared_ptr<ScanDir> at = std::move(above);
  while (at && at.use_count() == 1) at = std::move(at->above);
}

std::string path_below(const ScanDir& dir, std::string_view name) {
  std::vector<std::string_view> names;
  for (const ScanDir* at = &dir; at->above; at = at->above.get()) names.emplace_back(at->name);
  std::string path;
  for (; !names.empty(); names.pop_back()) {
    if (!path.empty()) path += '/';
    path += names.back();
  }
  if (!path.empty() && !name.empty()) path += '/';
  path += name;
  return path;
}

Result<ScanRoot> ScanRoot::open(const ArchiveRoot& given) {
  const os::Dir& dir = *given.dir;
  ScanRoot root;
  root.index = given.index;
  root.dir = &dir;
  root.passes_over = given.passes_over;
  TRY_ASSIGN(const os::Stat stat, dir.stat());
  TRY_ASSIGN(root.id, os::file_id_of(dir.fd()));
  root.mount_id = stat.mount_id;
  root.node.name = std::to_string(given.index);
  set_metadata(root.node, stat, device_id_of(root, stat.device));
  TRY_ASSIGN(root.node.xattrs, read_xattrs(dir.fd(), root.xattrs_lost));
  return root;
}

namespace {

// Lists the directory and looks at every entry.
Status list_entries(ScanDir& at, ScanRoot& root, Timespec since) {
  TRY_ASSIGN(std::vector<os::Entry> names, at.dir.list());
  std::sort(names.begin(), names.end(),
            [](const os::Entry& a, const os::Entry& b) { return a.name < b.name; });
  if (!at.above && root.passes_over != nullptr) {
    std::erase_if(names, [&root](const os::Entry& one) { return root.passes_over(one.name); });
  }
  at.entries.reserve(names.size());
  std::size_t from = 0;
  for (os::Entry& entry : names) {
    TRY_ASSIGN(const std::optional<os::Stat> stat, at.dir.find(entry.name));
    if (!stat) continue;
    if (stat->mount_id != root.mount_id) {
      root.mounts.push_back(path_below(at, entry.name));
      continue;
    }
    if (stat->type == os::FileType::kSocket) {
      ++root.sockets;
      continue;
    }
    TRY_ASSIGN(const std::optional<os::FileId> id, os::find_file_id(at.dir, entry.name));
    if (!id) continue;
    ++root.entries;
    if (stat->type != os::FileType::kDirectory && stat->links > 1) {
      auto& missing = root.links_missing.try_emplace(stat->inode, stat->links).first->second;
      if (--missing == 0) root.links_missing.erase(stat->inode);
    }
    const Fact* before = find_known(at.known ? &*at.known : nullptr, entry.name, from);
    ScannedEntry seen;
    if (before != nullptr && is_same(*before, *stat, *id)) {
      seen = {*before, true};
      // The number of names is no change of the object's content, but a fact of its own.
      if (stat->type != os::FileType::kDirectory) seen.fact.node.links = stat->links;
      at.entries.push_back(std::move(seen));
      continue;
    }
    Fact& fact = seen.fact;
    fact.node.name = std::move(entry.name);
    set_metadata(fact.node, *stat, device_id_of(root, stat->device));
    fact.id = *id;
    fact.stat_bytes = stat->size_bytes;
    fact.settled = is_before(stat->ctime, since);
    if (stat->type != os::FileType::kRegular && stat->type != os::FileType::kDirectory) {
      auto read = read_special(at.dir, fact);
      if (!read.ok()) return read.error().with_context(printable(path_below(at, fact.node.name)));
      if (!*read) continue;
    }
    at.entries.push_back(std::move(seen));
  }
  return {};
}

class Walk {
 public:
  Walk(ScanRoot& root, const FactsFile* known, Timespec since, ScanVisitor& visitor)
      : root_(root), known_(known), since_(since), visitor_(visitor) {}

  Status run();

 private:
  Status enter(const std::shared_ptr<ScanDir>& at);
  Status descend();

  ScanRoot& root_;
  const FactsFile* const known_;
  const Timespec since_;
  ScanVisitor& visitor_;
  std::vector<std::shared_ptr<ScanDir>> levels_;
};

Status Walk::enter(const std::shared_ptr<ScanDir>& at) {
  if (levels_.size() > kDepthMax) return Error(Code::kInvalid, "the tree is deeper than allowed");
  levels_.push_back(at);
  if (known_ != nullptr) {
    auto found = known_->find(static_cast<std::uint32_t>(root_.index), at->id);
    if (found.ok()) at->known = std::move(*found);
  }
  TRY(list_entries(*at, root_, since_));
  for (std::size_t slot = at->entries.size(); slot > 0; --slot) {
    if (at->entries[slot - 1].fact.node.type == NodeType::kDir) at->children.push_back(slot - 1);
  }
  TRY(visitor_.enter(at));
  at->known.reset();
  return {};
}

// Into the next subdirectory of the last level.
Status Walk::descend() {
  const std::shared_ptr<ScanDir> above = levels_.back();
  ScannedEntry& entry = above->entries[above->children.back()];
  above->children.pop_back();
  Fact& fact = entry.fact;
  auto child = above->dir.open_dir(fact.node.name, os::Crossing::kRefuse);
  if (!child.ok() && os::is_gone(child.error())) {
    fact.node.name.clear();
    return {};
  }
  if (!child.ok()) return child.error().with_context(printable(path_below(*above, fact.node.name)));
  if (!entry.unchanged) {
    TRY_ASSIGN(fact.node.xattrs, read_xattrs(child->fd(), fact.xattrs_lost));
  }
  return enter(std::make_shared<ScanDir>(above, fact.node.name, std::move(*child), fact.id));
}

Status Walk::run() {
  TRY_ASSIGN(os::Dir dir, root_.dir->clone());
  TRY(enter(std::make_shared<ScanDir>(nullptr, "", std::move(dir), root_.id)));
  while (!levels_.empty()) {
    if (!levels_.back()->children.empty()) {
      TRY(descend());
      continue;
    }
    const std::shared_ptr<ScanDir> done = std::move(levels_.back());
    levels_.pop_back();
    TRY(visitor_.leave(done));
  }
  return {};
}

}  // namespace

Status walk_tree(ScanRoot& root, const FactsFile* known, Timespec since, ScanVisitor& visitor) {
  return Walk(root, known, since, visitor).run();
}

}  // namespace cairn::repository
