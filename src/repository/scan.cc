#include "repository/scan.h"

#include <algorithm>

#include "base/strings.h"
#include "repository/entry.h"
#include "repository/limits.h"
#include "repository/scan_ahead.h"
#include "repository/scan_list.h"

namespace cairn::repository {

namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;
constexpr unsigned kNestedDeviceShift = 32;  // device ids of nested subvolumes stay apart

std::uint64_t device_id_of(ScanRoot& root, std::uint64_t device) {
  const std::uint64_t ordinal = root.devices.size();
  const std::uint64_t id = kDeviceIdBase + static_cast<std::uint64_t>(root.index);
  return root.devices.try_emplace(device, id + (ordinal << kNestedDeviceShift)).first->second;
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

class Walk {
 public:
  Walk(ScanRoot& root, const Lister& lister, ScanVisitor& visitor)
      : root_(root), lister_(lister), visitor_(visitor), ahead_(lister) {}

  Status run();

 private:
  Status enter(Listing listing);

  ScanRoot& root_;
  const Lister& lister_;
  ScanVisitor& visitor_;
  std::vector<std::shared_ptr<ScanDir>> levels_;
  ScanAhead ahead_;
};

// Adds what a listing found beside the entries to what the root counts.
void count(const Listing& listing, ScanRoot& root) {
  ScanDir& dir = *listing.dir;
  root.entries += dir.entries.size();
  root.sockets += listing.sockets;
  for (const std::string& name : listing.mounts) root.mounts.push_back(path_below(dir, name));
  for (const auto& [inode, links] : listing.links) {
    auto& missing = root.links_missing.try_emplace(inode, links).first->second;
    if (--missing == 0) root.links_missing.erase(inode);
  }
  for (ScannedEntry& entry : dir.entries) {
    Node& node = entry.fact.node;
    if (!entry.unchanged) node.device_id = device_id_of(root, node.device_id);
  }
}

Status Walk::enter(Listing listing) {
  if (levels_.size() > kDepthMax) return Error(Code::kInvalid, "the tree is deeper than allowed");
  count(listing, root_);
  levels_.push_back(std::move(listing.dir));
  const std::shared_ptr<ScanDir>& dir = levels_.back();
  std::vector<std::size_t> directories;
  for (std::size_t slot = 0; slot < dir->entries.size(); ++slot) {
    if (dir->entries[slot].fact.node.type == NodeType::kDir) directories.push_back(slot);
  }
  TRY(visitor_.enter(dir));
  dir->known.reset();
  ahead_.open(dir, directories);
  return {};
}

Status Walk::run() {
  TRY_ASSIGN(os::Dir dir, root_.dir->clone());
  TRY_ASSIGN(Listing first, lister_.list_root(std::move(dir), root_.id));
  TRY(enter(std::move(first)));
  while (!levels_.empty()) {
    const std::unique_ptr<ScanAhead::Taken> next = ahead_.take();
    if (!next) {
      const std::shared_ptr<ScanDir> done = std::move(levels_.back());
      levels_.pop_back();
      TRY(visitor_.leave(done));
      continue;
    }
    Result<Listing>& listing = next->listing;
    if (!listing.ok()) return listing.error();
    ScannedEntry& entry = levels_.back()->entries[next->slot];
    if (!listing->dir) {
      entry.fact.node.name.clear();
      continue;
    }
    if (!entry.unchanged) {
      entry.fact = std::move(listing->itself);
      entry.fact.node.device_id = device_id_of(root_, entry.fact.node.device_id);
    }
    TRY(enter(std::move(*listing)));
  }
  return {};
}

}  // namespace

Status walk_tree(
    ScanRoot& root, const FactsFile* known, KnownFrom from, Timespec since, ScanVisitor& visitor) {
  const Lister lister(root, known, from, since);
  return Walk(root, lister, visitor).run();
}

}  // namespace cairn::repository
