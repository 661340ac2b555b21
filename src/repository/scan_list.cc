#include "repository/scan_list.h"

#include <algorithm>

#include "base/strings.h"
#include "repository/entry.h"

namespace cairn::repository {

namespace {

bool is_same(const Fact& fact, const os::Stat& stat) {
  return fact.settled && fact.node.inode == stat.inode && fact.node.type == node_type(stat.type) &&
         fact.stat_bytes == stat.size_bytes && fact.node.mtime == stat.mtime &&
         fact.node.ctime == stat.ctime;
}

// The root of a nested btrfs subvolume has the inode number and times of that which it is a
// snapshot of (BTRFS_FIRST_FREE_OBJECTID): only their handles tell them apart.
bool may_be_subvolume(const os::Stat& stat) {
  constexpr std::uint64_t kSubvolumeInode = 256;
  return stat.type == os::FileType::kDirectory && stat.inode == kSubvolumeInode;
}

// The known fact of that name; from moves forward.
Fact* find_known(DirFacts* known, const std::string& name, std::size_t& from) {
  if (known == nullptr) return nullptr;
  while (from < known->entries.size() && known->entries[from].node.name < name) ++from;
  if (from == known->entries.size() || known->entries[from].node.name != name) return nullptr;
  return &known->entries[from];
}

}  // namespace

// Everything but a name and a content, of one object: two may have had the name one after the
// other, and where two names of one directory are exchanged xfs moves no time of what they name.
Status Lister::describe(const os::Fd& fd, Fact& fact) const {
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(fd));
  set_metadata(fact.node, stat, stat.device);
  TRY_ASSIGN(fact.id, os::file_id_of(fd));
  fact.stat_bytes = stat.size_bytes;
  fact.settled = is_before(stat.ctime, since_);
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(fd, fact.xattrs_lost));
  return {};
}

// A link, fifo or device. False where it vanished or something else took its name: it is left out,
// and found by the next pass.
Result<bool> Lister::read_special(const os::Dir& dir, Fact& fact) const {
  const auto fd = dir.open_path(fact.node.name);
  if (!fd.ok()) {
    if (fd.error().code() == Code::kNotFound) return false;
    return fd.error();
  }
  const NodeType type = fact.node.type;
  TRY(describe(*fd, fact));
  if (fact.node.type != type) return false;
  if (type == NodeType::kSymlink) {
    TRY_ASSIGN(fact.node.link_target, os::read_link(*fd));
  }
  return true;
}

// One entry: its place in out, or nothing where it is left out. Where all of before holds still, it
// is taken but for its name: memory of copies would be freed by another thread, which costs more.
Status Lister::look_at(const std::string& name, Fact* before, KnownFrom from, Listing& out) const {
  ScanDir& at = *out.dir;
  TRY_ASSIGN(const std::optional<os::Stat> stat, at.dir.find(name));
  if (!stat) return {};
  if (stat->mount_id != mount_id_) {
    out.mounts.push_back(name);
    return {};
  }
  if (stat->type == os::FileType::kSocket) {
    ++out.sockets;
    return {};
  }
  const bool is_directory = stat->type == os::FileType::kDirectory;
  if (!is_directory && stat->links > 1) out.links.emplace_back(stat->inode, stat->links);
  if (before != nullptr && is_same(*before, *stat)) {
    std::optional<os::FileId> id = before->id;
    if (from == KnownFrom::kBefore || may_be_subvolume(*stat)) {
      TRY_ASSIGN(id, os::find_file_id(at.dir, name));
    }
    if (!id) return {};
    if (before->id == *id) {
      ScannedEntry& seen = at.entries.emplace_back(std::move(*before), true);
      before->node.name = name;
      // The number of names is no change of the object's content, but a fact of its own.
      if (!is_directory) seen.fact.node.links = stat->links;
      return {};
    }
  }
  ScannedEntry seen;
  Fact& fact = seen.fact;
  fact.node.name = name;
  set_metadata(fact.node, *stat, stat->device);
  fact.stat_bytes = stat->size_bytes;
  // Whoever opens a file or a directory describes it by the descriptor.
  if (stat->type != os::FileType::kRegular && !is_directory) {
    auto read = read_special(at.dir, fact);
    if (!read.ok()) return read.error().with_context(printable(path_below(at, name)));
    if (!*read) return {};
  }
  at.entries.push_back(std::move(seen));
  return {};
}

Status Lister::fill(Listing& out, KnownFrom from) const {
  ScanDir& at = *out.dir;
  if (known_ != nullptr) {
    auto found = known_->find(static_cast<std::uint32_t>(root_), at.id);
    if (found.ok()) at.known = std::move(*found);
  }
  // The root's descriptor is its owner's, who may list by it.
  TRY_ASSIGN(std::vector<os::Entry> names, at.above ? at.dir.list_once() : at.dir.list());
  std::ranges::sort(names, {}, &os::Entry::name);
  // A name that is taken away and given anew while a directory is read may be met twice.
  const auto again = std::ranges::unique(names, {}, &os::Entry::name);
  names.erase(again.begin(), again.end());
  if (!at.above && passes_over_ != nullptr) {
    std::erase_if(names, [this](const os::Entry& one) { return passes_over_(one.name); });
  }
  at.entries.reserve(names.size());
  std::size_t at_known = 0;
  for (const os::Entry& entry : names) {
    Fact* const before = find_known(at.known ? &*at.known : nullptr, entry.name, at_known);
    TRY(look_at(entry.name, before, from, out));
  }
  return {};
}

Result<Listing> Lister::list_root(os::Dir dir, const os::FileId& id) const {
  Listing out;
  out.dir = std::make_shared<ScanDir>(nullptr, "", std::move(dir), id);
  TRY(fill(out, from_));
  return out;
}

Result<Listing> Lister::list_child(const std::shared_ptr<ScanDir>& above,
                                   const ScannedEntry& entry) const {
  Listing out;
  const std::string& name = entry.fact.node.name;
  auto child = above->dir.open_dir(name, os::Crossing::kRefuse);
  if (!child.ok() && os::is_gone(child.error())) return out;
  if (!child.ok()) return child.error().with_context(printable(path_below(*above, name)));
  if (!entry.unchanged) {
    out.itself.node.name = name;
    TRY_CONTEXT(describe(child->fd(), out.itself), printable(path_below(*above, name)));
  }
  const os::FileId& id = entry.unchanged ? entry.fact.id : out.itself.id;
  out.dir = std::make_shared<ScanDir>(above, name, std::move(*child), id);
  // No name of it was taken away or given since it was known, or its ctime would have moved: what
  // it named then has been in use all the time, and is no other object with the number of one.
  TRY(fill(out, entry.unchanged ? KnownFrom::kThisSession : from_));
  return out;
}

}  // namespace cairn::repository
