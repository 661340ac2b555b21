#include "volume/archive_staging.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "base/strings.h"

namespace cairn::volume {

namespace {

constexpr std::uint32_t kImplicitMode = 0755;  // of a directory that the archive does not describe

Error taken(const std::string& name) {
  return Error(Code::kInvalid, "'" + printable(name, 120) +
                                   "' is in the archive twice, or a file " +
                                   "is where a directory must be");
}

// A value that the kernel does not take, as of an access list of no known version, is the archive's
// fault, too.
Error blame_attribute(const Error& error) {
  const int number = error.os_errno();
  const bool refused = number == EINVAL || number == EOPNOTSUPP || number == EPERM ||
                       number == ERANGE || number == E2BIG;
  return refused ? error.with_code(Code::kInvalid) : error;
}

// What the kernel says when a name is taken or a directory is none is the archive's fault.
Status blame(const Status& status, const std::string& name) {
  if (status.ok()) return status;
  const int number = status.error().os_errno();
  if (number == EEXIST || number == ENOTDIR || number == ELOOP) return taken(name);
  return status;
}

}  // namespace

Staging::Staging(os::Dir root, StagingKeeps keeps) : root_(std::move(root)), keeps_(keeps) {}

Result<Staging::NodeId> Staging::make_node(NodeId parent, const std::string& name) {
  if (++made_ > codec::kTarEntriesMax) return Error(Code::kInvalid, "more entries than allowed");
  nodes_.push_back({parent, name, std::nullopt});
  children_[{parent, name}] = nodes_.size() - 1;
  return nodes_.size() - 1;
}

// Goes from the directory that is open to the child of that name.
Status Staging::step_into(const std::string& name, Missing missing) {
  const NodeId parent = steps_.empty() ? kRoot : steps_.back().node;
  const auto found = children_.find({parent, name});
  NodeId node = kRoot;
  if (found != children_.end()) {
    node = found->second;
  } else if (missing == Missing::kRefuse) {
    return Error(Code::kInvalid, "a hard link to what did not come before it");
  } else {
    TRY(blame(here().make_dir(name, 0700), name));
    TRY_ASSIGN(node, make_node(parent, name));
  }
  TRY_ASSIGN(os::Dir dir, here().open_dir(name, os::Crossing::kRefuse));
  steps_.push_back({node, std::move(dir)});
  return {};
}

// Opens the directory that the first count components name; its node.
Result<Staging::NodeId> Staging::enter(const std::vector<std::string>& path,
                                       std::size_t count,
                                       Missing missing) {
  std::size_t same = 0;
  while (same < count && same < steps_.size() && nodes_[steps_[same].node].name == path[same]) {
    ++same;
  }
  steps_.erase(steps_.begin() + static_cast<std::ptrdiff_t>(same), steps_.end());
  for (; same < count; ++same) TRY(step_into(path[same], missing));
  return steps_.empty() ? kRoot : steps_.back().node;
}

Status Staging::enter_node(NodeId node) {
  std::vector<std::string> path;
  for (; node != kRoot; node = nodes_[node].parent) path.push_back(nodes_[node].name);
  std::reverse(path.begin(), path.end());
  TRY(enter(path, path.size(), Missing::kRefuse));
  return {};
}

Status Staging::add_directory(const std::vector<std::string>& path, const codec::TarEntry& entry) {
  TRY(close_file());
  TRY_ASSIGN(const NodeId node, enter(path, path.size(), Missing::kMake));
  if (nodes_[node].entry) return taken(path.empty() ? "." : path.back());
  nodes_[node].entry = entry;
  return {};
}

Status Staging::add_file(const std::vector<std::string>& path, const codec::TarEntry& entry) {
  TRY(close_file());
  TRY(enter(path, path.size() - 1, Missing::kMake));
  auto file =
      here().open_file(path.back(), O_WRONLY | O_CREAT | O_EXCL, 0600, os::Crossing::kRefuse);
  if (!file.ok()) return blame(file.error(), path.back());
  file_ = std::move(file).value();
  file_entry_ = entry;
  ++made_;
  return {};
}

Status Staging::write(std::uint64_t offset, ByteView bytes) {
  if (!file_) return Error(Code::kCorrupt, "data of no file");
  return os::write_all_at(*file_, bytes, offset);
}

Status Staging::close_file() {
  if (!file_) return {};
  const os::Fd file = std::move(*file_);
  file_.reset();
  TRY(os::truncate(file, file_entry_.size_bytes));  // a hole at the end
  return put_metadata(file, file_entry_);
}

Status Staging::put_metadata(const os::Fd& fd, const codec::TarEntry& entry) const {
  if (keeps_.owners) TRY(os::change_owner(fd, entry.uid, entry.gid));
  if (keeps_.xattrs) {
    for (const codec::TarXattr& xattr : entry.xattrs) {
      const Status set = os::set_xattr(fd, {xattr.name, xattr.value});
      // The label belongs to the policy of the host that wrote it; here it may have no place.
      if (!set.ok() && xattr.name != "security.selinux") return blame_attribute(set.error());
    }
  }
  if (entry.type != codec::TarType::kSymlink) TRY(os::change_mode(fd, entry.mode));
  return os::change_times(fd, entry.mtime, entry.mtime);
}

Status Staging::skip(const std::vector<std::string>& path) {
  TRY(close_file());
  TRY_ASSIGN(const NodeId parent, enter(path, path.size() - 1, Missing::kMake));
  skipped_.insert({parent, path.back()});
  return {};
}

Status Staging::add_hard_link(const std::vector<std::string>& path,
                              const std::vector<std::string>& target) {
  TRY(close_file());
  TRY_ASSIGN(const NodeId from, enter(target, target.size() - 1, Missing::kRefuse));
  const Name first{from, target.back()};
  if (skipped_.contains(first)) return skip(path);
  const auto symlink = symlink_at_.find(first);
  if (symlink != symlink_at_.end()) {
    const std::size_t same_as = symlink->second;
    TRY_ASSIGN(const NodeId parent, enter(path, path.size() - 1, Missing::kMake));
    symlink_at_[{parent, path.back()}] = same_as;
    symlinks_.push_back({{parent, path.back()}, {}, same_as});
    return {};
  }
  TRY_ASSIGN(const std::optional<os::Stat> there, here().find(target.back()));
  if (!there || there->type != os::FileType::kRegular) {
    return Error(Code::kInvalid, "a hard link to what is no file that came before it: '" +
                                     printable(target.back(), 120) + "'");
  }
  TRY_ASSIGN(const os::Fd file, here().open_path(target.back()));
  TRY(enter(path, path.size() - 1, Missing::kMake));
  ++made_;
  return blame(here().link_file(file, path.back()), path.back());
}

Status Staging::add_symlink(const std::vector<std::string>& path, const codec::TarEntry& entry) {
  TRY(close_file());
  TRY_ASSIGN(const NodeId parent, enter(path, path.size() - 1, Missing::kMake));
  const Name name{parent, path.back()};
  if (!symlink_at_.emplace(name, symlinks_.size()).second) return taken(path.back());
  symlinks_.push_back({name, entry, std::nullopt});
  return {};
}

Status Staging::finish_symlinks() {
  for (const Symlink& one : symlinks_) {
    if (one.same_as) {
      const Symlink& first = symlinks_[*one.same_as];
      TRY(enter_node(first.name.first));
      TRY_ASSIGN(const os::Fd link, here().open_path(first.name.second));
      TRY(enter_node(one.name.first));
      TRY(blame(here().link_file(link, one.name.second), one.name.second));
      continue;
    }
    TRY(enter_node(one.name.first));
    TRY(blame(here().make_symlink(one.entry.link, one.name.second), one.name.second));
    TRY_ASSIGN(const os::Fd link, here().open_path(one.name.second));
    TRY(put_metadata(link, one.entry));
  }
  return {};
}

// Children come after their parents in nodes_, so backwards each is done before its parent.
Status Staging::finish_directories() {
  for (NodeId node = nodes_.size(); node-- > 0;) {
    TRY(enter_node(node));
    if (nodes_[node].entry) {
      TRY(put_metadata(here().fd(), *nodes_[node].entry));
    } else {
      TRY(os::change_mode(here().fd(), kImplicitMode));
    }
  }
  return {};
}

Status Staging::finish() {
  TRY(close_file());
  TRY(finish_symlinks());
  return finish_directories();
}

}  // namespace cairn::volume
