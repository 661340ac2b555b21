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
Result<bool> read_special(const os::Dir& dir, Fact& fact, ScanRoot& root, const std::string& path) {
  auto fd = dir.open_path(fact.node.name);
  if (!fd.ok()) {
    if (fd.error().code() == Code::kNotFound) return false;
    return fd.error();
  }
  std::size_t lost = 0;
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(*fd, lost));
  if (lost != 0) root.warn(lost_xattr_words(path));
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

std::string lost_xattr_words(const std::string& path) {
  return "an extended attribute of " + printable(path) + " is left out: its name is not UTF-8";
}

bool is_before(Timespec changed, Timespec since) {
  const std::int64_t limit_ns = static_cast<std::int64_t>(since.nanoseconds) - 2 * kClockTickNs;
  const Timespec limit{since.seconds + (limit_ns < 0 ? -1 : 0),
                       static_cast<std::uint32_t>(limit_ns < 0 ? limit_ns + kNsPerS : limit_ns)};
  return changed < limit;
}

std::string join_path(const std::string& parent, std::string_view name) {
  std::string path = parent;
  if (!path.empty()) path += '/';
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
  std::size_t lost = 0;
  TRY_ASSIGN(root.node.xattrs, read_xattrs(dir.fd(), lost));
  if (lost != 0) root.warn(lost_xattr_words("/"));
  return root;
}

void ScanRoot::warn(std::string sentence) {
  if (warnings.size() < kWarningsMax) warnings.push_back(std::move(sentence));
}

Status read_directory_facts(const os::Dir& child,
                            Fact& fact,
                            ScanRoot& root,
                            const std::string& path) {
  std::size_t lost = 0;
  TRY_ASSIGN(fact.node.xattrs, read_xattrs(child.fd(), lost));
  if (lost != 0) root.warn(lost_xattr_words(path));
  return {};
}

Result<std::vector<ScannedEntry>> scan_directory(const os::Dir& dir,
                                                 const std::string& path,
                                                 ScanRoot& root,
                                                 const DirFacts* known,
                                                 Timespec since) {
  TRY_ASSIGN(std::vector<os::Entry> names, dir.list());
  std::sort(names.begin(), names.end(),
            [](const os::Entry& a, const os::Entry& b) { return a.name < b.name; });
  if (root.dirs == 0 && root.passes_over != nullptr) {
    std::erase_if(names, [&root](const os::Entry& one) { return root.passes_over(one.name); });
  }
  ++root.dirs;
  std::vector<ScannedEntry> out;
  out.reserve(names.size());
  std::size_t from = 0;
  for (os::Entry& entry : names) {
    TRY_ASSIGN(const std::optional<os::Stat> stat, dir.find(entry.name));
    if (!stat) continue;
    if (stat->mount_id != root.mount_id) {
      root.mounts.push_back(join_path(path, entry.name));
      continue;
    }
    if (stat->type == os::FileType::kSocket) {
      ++root.sockets;
      continue;
    }
    TRY_ASSIGN(const std::optional<os::FileId> id, os::find_file_id(dir, entry.name));
    if (!id) continue;
    ++root.entries;
    if (stat->type != os::FileType::kDirectory && stat->links > 1) {
      auto& missing = root.links_missing.try_emplace(stat->inode, stat->links).first->second;
      if (--missing == 0) root.links_missing.erase(stat->inode);
    }
    const Fact* before = find_known(known, entry.name, from);
    ScannedEntry seen;
    if (before != nullptr && is_same(*before, *stat, *id)) {
      seen = {*before, true};
      // The number of names is no change of the object's content, but a fact of its own.
      if (stat->type != os::FileType::kDirectory) seen.fact.node.links = stat->links;
      out.push_back(std::move(seen));
      continue;
    }
    Fact& fact = seen.fact;
    fact.node.name = std::move(entry.name);
    set_metadata(fact.node, *stat, device_id_of(root, stat->device));
    fact.id = *id;
    fact.stat_bytes = stat->size_bytes;
    fact.settled = is_before(stat->ctime, since);
    if (stat->type != os::FileType::kRegular && stat->type != os::FileType::kDirectory) {
      auto read = read_special(dir, fact, root, join_path(path, fact.node.name));
      if (!read.ok()) return read.error().with_context(printable(fact.node.name));
      if (!*read) continue;
    }
    out.push_back(std::move(seen));
  }
  return out;
}

}  // namespace cairn::repository
