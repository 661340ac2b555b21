#include "os/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/strings.h"
#include "os/fault.h"

namespace cairn::os {

namespace internal {
Stat from_statx(const struct statx& in);
}  // namespace internal

namespace {

constexpr std::size_t kListBytes = std::size_t{32} * 1024;  // of entries, asked for at once
constexpr int kOpenRetriesMax = 16;  // openat2 answers EAGAIN while a rename races it

Error path_error(std::string_view what, std::string_view path, int os_errno) {
  return os_error(std::string(what) + " " + printable(path), os_errno);
}

Result<Fd> open_beneath(
    const Fd& dir, const std::string& path, int flags, std::uint32_t mode, Crossing crossing) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC | O_NOFOLLOW));
  if ((flags & (O_CREAT | __O_TMPFILE)) != 0) how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  if (crossing == Crossing::kRefuse) how.resolve |= RESOLVE_NO_XDEV;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, dir.get(), path.c_str(), &how, sizeof(how));
    if (fd >= 0) return Fd(static_cast<int>(fd));
    // EXDEV: it left the directory between the lookup and the kernel's check that it is beneath.
    const bool again = errno == EINTR || errno == EAGAIN || errno == EXDEV;
    if (again && attempt < kOpenRetriesMax) continue;
    return path_error("open", path, errno);
  }
}

// "/proc/self/fd/N": how a descriptor is named where the call takes only paths.
std::string proc_path(const Fd& fd) {
  return "/proc/self/fd/" + std::to_string(fd.get());
}

FileType type_of_dirent(unsigned char type) {
  switch (type) {
    case DT_DIR:
      return FileType::kDirectory;
    case DT_LNK:
      return FileType::kSymlink;
    case DT_FIFO:
      return FileType::kFifo;
    case DT_SOCK:
      return FileType::kSocket;
    case DT_BLK:
      return FileType::kBlockDevice;
    case DT_CHR:
      return FileType::kCharDevice;
    default:
      return FileType::kRegular;
  }
}

std::uint32_t type_bits(FileType type) {
  switch (type) {
    case FileType::kRegular:
      return S_IFREG;
    case FileType::kDirectory:
      return S_IFDIR;
    case FileType::kSymlink:
      return S_IFLNK;
    case FileType::kFifo:
      return S_IFIFO;
    case FileType::kSocket:
      return S_IFSOCK;
    case FileType::kBlockDevice:
      return S_IFBLK;
    case FileType::kCharDevice:
      return S_IFCHR;
  }
  return S_IFREG;
}

}  // namespace

Status check_component(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kNameBytesMax ||
      name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return Error(Code::kInvalid, "not a file name: '" + printable(name, 80) + "'");
  }
  return {};
}

Result<Dir> Dir::open(const std::string& absolute_path) {
  const int fd = ::open(absolute_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return path_error("open", absolute_path, errno);
  return Dir(Fd(fd));
}

Result<Dir> Dir::clone() const {
  const int fd = ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return os_error("duplicate a directory descriptor", errno);
  return Dir(Fd(fd));
}

Result<Dir> Dir::open_dir(const std::string& path, Crossing crossing) const {
  TRY_ASSIGN(Fd fd, open_beneath(fd_, path, O_RDONLY | O_DIRECTORY, 0, crossing));
  return Dir(std::move(fd));
}

Result<Dir> Dir::open_in_root(const std::string& path) const {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, fd_.get(), path.c_str(), &how, sizeof(how));
    if (fd >= 0) return Dir(Fd(static_cast<int>(fd)));
    // EXDEV: it left the directory between the lookup and the kernel's check that it is beneath.
    const bool again = errno == EINTR || errno == EAGAIN || errno == EXDEV;
    if (again && attempt < kOpenRetriesMax) continue;
    return path_error("open", path, errno);
  }
}

Result<Fd> Dir::open_file(const std::string& path,
                          int flags,
                          std::uint32_t mode,
                          Crossing crossing) const {
  return open_beneath(fd_, path, flags, mode, crossing);
}

Result<Fd> Dir::open_path(const std::string& path) const {
  // O_NOFOLLOW with O_PATH names a symbolic link itself; NO_SYMLINKS would refuse it.
  TRY(check_component(path));
  const int fd = ::openat(fd_.get(), path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return path_error("open", path, errno);
  return Fd(fd);
}

Result<Stat> Dir::stat(const std::string& name) const {
  struct statx raw{};
  if (::statx(fd_.get(), name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
              STATX_BASIC_STATS | STATX_MNT_ID, &raw) != 0) {
    return path_error("stat", name, errno);
  }
  return internal::from_statx(raw);
}

Result<std::optional<Stat>> Dir::find(const std::string& name) const {
  auto stat_result = stat(name);
  if (stat_result.ok()) return std::optional<Stat>(std::move(stat_result).value());
  if (stat_result.error().os_errno() == ENOENT) return std::optional<Stat>();
  return stat_result.error();
}

Result<Handle> Dir::handle(const std::string& name) const {
  TRY_ASSIGN(const Fd fd, open_beneath(fd_, name, O_RDONLY | O_DIRECTORY, 0, Crossing::kAllow));
  return handle_of(fd);
}

namespace {

// From the descriptor's read position on.
Result<std::vector<Entry>> read_entries(const Fd& fd) {
  std::vector<Entry> entries;
  alignas(dirent64) std::array<char, kListBytes> buffer;
  while (true) {
    const ssize_t got = ::getdents64(fd.get(), buffer.data(), buffer.size());
    // ENOENT: it was removed meanwhile, and so has no entries.
    if (got < 0 && errno != ENOENT) return os_error("list a directory", errno);
    if (got <= 0) return entries;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
      at += entry->d_reclen;
      const std::string_view name(entry->d_name);
      if (name == "." || name == "..") continue;
      entries.push_back({std::string(name), type_of_dirent(entry->d_type)});
    }
  }
}

}  // namespace

Result<std::vector<Entry>> Dir::list() const {
  // A descriptor of its own: the read position of a shared one would be shared too.
  const int own = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return os_error("open a directory to list it", errno);
  return read_entries(Fd(own));
}

Result<std::vector<Entry>> Dir::list_once() const {
  return read_entries(fd_);
}

Result<std::string> Dir::read_file(const std::string& name, std::size_t max_bytes) const {
  TRY_ASSIGN(const Fd fd, open_file(name, O_RDONLY));
  auto content = read_all(fd, max_bytes);
  if (!content.ok()) return content.error().with_context("read " + printable(name));
  return content;
}

Status Dir::make_dir(const std::string& name, std::uint32_t mode) const {
  TRY(check_component(name));
  if (::mkdirat(fd_.get(), name.c_str(), mode) != 0) {
    return path_error("make directory", name, errno);
  }
  return {};
}

Result<Dir> Dir::ensure_dir(const std::string& name, std::uint32_t mode) const {
  const Status made = make_dir(name, mode);
  if (!made.ok() && made.error().code() != Code::kExists) return made.error();
  return open_dir(name);
}

Status Dir::make_symlink(const std::string& target, const std::string& name) const {
  TRY(check_component(name));
  if (::symlinkat(target.c_str(), fd_.get(), name.c_str()) != 0) {
    return path_error("make link", name, errno);
  }
  return {};
}

Status Dir::make_node(const std::string& name,
                      FileType type,
                      std::uint32_t mode,
                      std::uint64_t special_device) const {
  TRY(check_component(name));
  if (::mknodat(fd_.get(), name.c_str(), type_bits(type) | mode, special_device) != 0) {
    return path_error("make node", name, errno);
  }
  return {};
}

Status Dir::link_file(const Fd& file, const std::string& name) const {
  TRY(check_component(name));
  if (::linkat(AT_FDCWD, proc_path(file).c_str(), fd_.get(), name.c_str(), AT_SYMLINK_FOLLOW) !=
      0) {
    return path_error("link", name, errno);
  }
  return {};
}

Status Dir::publish_file(const std::string& name, ByteView content, std::uint32_t mode) const {
  TRY(check_component(name));
  TRY_ASSIGN(const Fd file, open_file(".", __O_TMPFILE | O_DIRECTORY | O_WRONLY, mode));
  TRY_CONTEXT(write_all(file, content), name);
  if (!seeded(Bug::kPublishSkipsFileSync)) TRY_CONTEXT(sync_data(file), name);
  TRY(link_file(file, name));
  if (seeded(Bug::kPublishSkipsDirectorySync)) return {};
  Status synced = sync();
  // A name that may not last is taken back, or others would go by what was never promised.
  if (!synced.ok()) (void)remove_file(name).ok();
  return synced;
}

Status Dir::remove_file(const std::string& name) const {
  TRY(check_component(name));
  if (::unlinkat(fd_.get(), name.c_str(), 0) != 0) return path_error("remove", name, errno);
  return {};
}

Status Dir::remove_dir(const std::string& name) const {
  TRY(check_component(name));
  if (::unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) != 0) {
    return path_error("remove directory", name, errno);
  }
  return {};
}

Result<bool> Dir::remove_dir_if_empty(const std::string& name) const {
  const Status removed = remove_dir(name);
  if (removed.ok() || removed.error().code() == Code::kNotFound) return true;
  if (removed.error().os_errno() == ENOTEMPTY) return false;
  return removed.error();
}

Status Dir::rename_to(const std::string& name, const Dir& to, const std::string& new_name) const {
  TRY(check_component(name));
  TRY(check_component(new_name));
  if (::renameat2(fd_.get(), name.c_str(), to.fd_.get(), new_name.c_str(), RENAME_NOREPLACE) != 0) {
    return path_error("rename", name, errno);
  }
  return {};
}

Status Dir::exchange(const std::string& name,
                     const Dir& other,
                     const std::string& other_name) const {
  TRY(check_component(name));
  TRY(check_component(other_name));
  if (::renameat2(fd_.get(), name.c_str(), other.fd_.get(), other_name.c_str(), RENAME_EXCHANGE) !=
      0) {
    return path_error("exchange", name, errno);
  }
  return {};
}

namespace {

Status destroy_subvolume(const Dir& parent, const std::string& name) {
  btrfs_ioctl_vol_args args{};
  std::strncpy(args.name, name.c_str(), sizeof(args.name) - 1);
  if (::ioctl(parent.fd().get(), BTRFS_IOC_SNAP_DESTROY, &args) != 0) {
    return path_error("remove subvolume", name, errno);
  }
  return {};
}

Status remove_directory(const Dir& parent,
                        const std::string& name,
                        std::uint64_t mount_id,
                        std::size_t depth);

// Depth is bounded by holding one descriptor a level; deeper trees are refused, not overflowed.
Status remove_children(const Dir& dir, std::uint64_t mount_id, std::size_t depth) {
  if (depth > kTreeDepthMax) return Error(Code::kInvalid, "tree is deeper than allowed");
  TRY_ASSIGN(const std::vector<Entry> entries, dir.list());
  for (const Entry& entry : entries) {
    TRY_ASSIGN(const Stat stat, dir.stat(entry.name));
    if (stat.mount_id != mount_id) {
      return Error(Code::kConflict, "a mount lies at " + printable(entry.name));
    }
    TRY(stat.type == FileType::kDirectory ? remove_directory(dir, entry.name, mount_id, depth)
                                          : dir.remove_file(entry.name));
  }
  return {};
}

Status remove_directory(const Dir& parent,
                        const std::string& name,
                        std::uint64_t mount_id,
                        std::size_t depth) {
  TRY_ASSIGN(const Dir dir, parent.open_dir(name, Crossing::kRefuse));
  TRY_ASSIGN(const bool subvolume, is_btrfs_subvolume(dir.fd()));
  // At once, with what is in it, also where it is read-only; not where others are nested in it.
  if (subvolume && destroy_subvolume(parent, name).ok()) return {};
  TRY(remove_children(dir, mount_id, depth + 1));
  return subvolume ? destroy_subvolume(parent, name) : parent.remove_dir(name);
}

}  // namespace

Status Dir::remove_tree(const std::string& name) const {
  TRY(check_component(name));
  TRY_ASSIGN(const std::optional<Stat> found, find(name));
  if (!found) return {};
  TRY_ASSIGN(const Stat own, stat());
  if (found->mount_id != own.mount_id) {
    return Error(Code::kConflict, "a mount lies at " + printable(name));
  }
  if (found->type != FileType::kDirectory) return remove_file(name);
  TRY_CONTEXT(remove_directory(*this, name, found->mount_id, 0), printable(name));
  return {};
}

Result<Fd> reopen(const Fd& named, int flags) {
  const int fd = ::open(proc_path(named).c_str(), flags | O_CLOEXEC);
  if (fd < 0) return os_error("open again", errno);
  return Fd(fd);
}

Result<std::string> path_of(const Fd& fd) {
  std::string path(4096, '\0');
  const ssize_t n = ::readlink(proc_path(fd).c_str(), path.data(), path.size());
  if (n < 0) return os_error("read a descriptor's path", errno);
  path.resize(static_cast<std::size_t>(n));
  if (path.empty() || path[0] != '/') return Error(Code::kInvalid, "directory has no path");
  return path;
}

Result<std::string> read_link(const Fd& named) {
  std::string target(4096, '\0');
  const ssize_t n = ::readlinkat(named.get(), "", target.data(), target.size());
  if (n < 0) return os_error("read a link", errno);
  target.resize(static_cast<std::size_t>(n));
  return target;
}

Result<std::vector<Xattr>> list_xattrs(const Fd& fd) {
  // Most objects have none: asked by descriptor first, since a path below /proc costs as much as
  // opening a file. A descriptor that only names its object has no other way.
  if (::flistxattr(fd.get(), nullptr, 0) == 0) return std::vector<Xattr>{};
  const std::string path = proc_path(fd);
  std::string names;
  for (int attempt = 0; attempt < kOpenRetriesMax; ++attempt) {
    const ssize_t size = ::listxattr(path.c_str(), nullptr, 0);
    if (size < 0) {
      if (errno == ENOTSUP) return std::vector<Xattr>{};
      return os_error("list extended attributes", errno);
    }
    if (size == 0) return std::vector<Xattr>{};
    names.resize(static_cast<std::size_t>(size));
    const ssize_t got = ::listxattr(path.c_str(), names.data(), names.size());
    if (got >= 0) {
      names.resize(static_cast<std::size_t>(got));
      break;
    }
    if (errno != ERANGE) return os_error("list extended attributes", errno);
  }
  std::vector<Xattr> out;
  for (std::size_t at = 0; at < names.size();) {
    const std::string name(names.c_str() + at);
    at += name.size() + 1;
    std::string value(65536, '\0');  // XATTR_SIZE_MAX
    const ssize_t got = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (got < 0) {
      if (errno == ENODATA) continue;  // removed meanwhile
      return os_error("read extended attribute " + printable(name), errno);
    }
    value.resize(static_cast<std::size_t>(got));
    out.push_back({name, std::move(value)});
  }
  std::sort(out.begin(), out.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return out;
}

Status set_xattr(const Fd& fd, const Xattr& xattr) {
  if (::setxattr(proc_path(fd).c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(),
                 0) != 0) {
    return os_error("set extended attribute " + printable(xattr.name), errno);
  }
  return {};
}

Status remove_xattr(const Fd& fd, const std::string& name) {
  if (::removexattr(proc_path(fd).c_str(), name.c_str()) != 0 && errno != ENODATA) {
    return os_error("remove extended attribute " + printable(name), errno);
  }
  return {};
}

Status change_owner(const Fd& fd, std::uint32_t uid, std::uint32_t gid) {
  if (::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
    return os_error("change owner", errno);
  }
  return {};
}

Status change_mode(const Fd& fd, std::uint32_t mode) {
  if (::fchmod(fd.get(), mode) == 0) return {};
  if (errno != EBADF) return os_error("change mode", errno);
  // fd only names its object (O_PATH).
  if (::chmod(proc_path(fd).c_str(), mode) != 0) return os_error("change mode", errno);
  return {};
}

Status change_mtime(const Fd& fd, Timespec mtime) {
  const std::array<timespec, 2> times{
      timespec{0, UTIME_OMIT}, timespec{mtime.seconds, static_cast<long>(mtime.nanoseconds)}};
  if (::utimensat(fd.get(), "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
    return os_error("change times", errno);
  }
  return {};
}

Status change_times(const Fd& fd, Timespec atime, Timespec mtime) {
  const std::array<timespec, 2> times{
      timespec{atime.seconds, static_cast<long>(atime.nanoseconds)},
      timespec{mtime.seconds, static_cast<long>(mtime.nanoseconds)}};
  if (::utimensat(fd.get(), "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) {
    return os_error("change times", errno);
  }
  return {};
}

bool is_gone(const Error& error) {
  const int why = error.os_errno();
  return why == ENOENT || why == ENOTDIR || why == ELOOP;
}

namespace {

Status measure_children(const Dir& dir,
                        std::uint64_t mount_id,
                        std::size_t depth,
                        const std::stop_token& stop,
                        TreeSize& size) {
  if (stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
  if (depth > kTreeDepthMax) return Error(Code::kInvalid, "tree is deeper than allowed");
  TRY_ASSIGN(const std::vector<Entry> entries, dir.list_once());
  for (const Entry& entry : entries) {
    TRY_ASSIGN(const std::optional<Stat> stat, dir.find(entry.name));
    if (!stat || stat->mount_id != mount_id) continue;
    ++size.entries;
    if (stat->type == FileType::kRegular) size.bytes += stat->size_bytes;
    if (stat->type != FileType::kDirectory) continue;
    auto child = dir.open_dir(entry.name, Crossing::kRefuse);
    if (!child.ok()) {
      if (is_gone(child.error())) continue;  // the workload may be running
      return child.error();
    }
    TRY(measure_children(*child, mount_id, depth + 1, stop, size));
  }
  return {};
}

}  // namespace

Result<TreeSize> measure_tree(const Dir& root, const std::stop_token& stop) {
  TreeSize size;
  size.entries = 1;
  TRY_ASSIGN(const Stat stat, root.stat());
  TRY_ASSIGN(const Dir own, root.open_dir("."));
  TRY(measure_children(own, stat.mount_id, 0, stop, size));
  return size;
}

Status make_btrfs_subvolume(const Dir& dir, const std::string& name) {
  TRY(check_component(name));
  btrfs_ioctl_vol_args args{};
  if (name.size() >= sizeof(args.name)) return Error(Code::kInvalid, "name is too long");
  std::memcpy(args.name, name.c_str(), name.size());
  if (::ioctl(dir.fd().get(), BTRFS_IOC_SUBVOL_CREATE, &args) != 0) {
    return path_error("make subvolume", name, errno);
  }
  return {};
}

}  // namespace cairn::os
