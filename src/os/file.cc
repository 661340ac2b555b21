#include "os/file.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cairn::os {

namespace {

constexpr std::int64_t kXfsMagic = 0x58465342;
constexpr std::size_t kUuidBytes = 16;

// EXT4_IOC_GETFSUUID, since Linux 6.0 (fs/ext4/ext4.h); the header is not exported.
struct Ext4FsUuid {
  std::uint32_t length;
  std::uint32_t flags;
  std::array<std::uint8_t, kUuidBytes> uuid;
};
using Ext4FsUuidHeader = std::array<std::uint32_t, 2>;
constexpr unsigned long kExt4GetFsUuid = _IOR('f', 44, Ext4FsUuidHeader);
constexpr std::uint64_t kBtrfsSubvolumeRootInode = 256;  // BTRFS_FIRST_FREE_OBJECTID

// struct xfs_fsop_geom_v1 (xfs_fs.h); only the UUID is read.
struct XfsGeometryV1 {
  std::array<std::uint32_t, 8> sizes;
  std::array<std::uint64_t, 4> blocks;
  std::array<std::uint8_t, kUuidBytes> uuid;
  std::array<std::uint32_t, 7> rest;
};
static_assert(offsetof(XfsGeometryV1, uuid) == 64);
static_assert(sizeof(XfsGeometryV1) == 112);
constexpr unsigned long kXfsGeometryV1 = _IOR('X', 100, XfsGeometryV1);

FileType type_of(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    case S_IFBLK:
      return FileType::kBlockDevice;
    case S_IFCHR:
      return FileType::kCharDevice;
    default:
      return FileType::kRegular;
  }
}

}  // namespace

namespace internal {

Stat from_statx(const struct statx& in) {
  Stat out;
  out.type = type_of(in.stx_mode);
  out.mode = in.stx_mode & 07777U;
  out.uid = in.stx_uid;
  out.gid = in.stx_gid;
  out.size_bytes = in.stx_size;
  out.blocks_bytes = in.stx_blocks * 512;
  out.inode = in.stx_ino;
  out.links = in.stx_nlink;
  out.device = makedev(in.stx_dev_major, in.stx_dev_minor);
  out.special_device = makedev(in.stx_rdev_major, in.stx_rdev_minor);
  out.mount_id = in.stx_mnt_id;
  out.mtime = {in.stx_mtime.tv_sec, in.stx_mtime.tv_nsec};
  out.atime = {in.stx_atime.tv_sec, in.stx_atime.tv_nsec};
  out.ctime = {in.stx_ctime.tv_sec, in.stx_ctime.tv_nsec};
  return out;
}

}  // namespace internal

Result<Stat> stat_fd(const Fd& fd) {
  struct statx raw{};
  if (::statx(fd.get(), "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_MNT_ID,
              &raw) != 0) {
    return os_error("statx", errno);
  }
  return internal::from_statx(raw);
}

Status write_all(const Fd& fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return os_error("write", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status write_all_at(const Fd& fd, ByteView bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return os_error("pwrite", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<std::size_t> read_at(const Fd& fd, std::span<std::byte> buffer, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t n = ::pread(fd.get(), buffer.data() + done, buffer.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return os_error("pread", errno);
    }
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Result<std::string> read_all(const Fd& fd, std::size_t max_bytes) {
  std::string out;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return os_error("read", errno);
    }
    if (n == 0) return out;
    if (out.size() + static_cast<std::size_t>(n) > max_bytes) {
      return Error(Code::kInvalid, "file is larger than allowed");
    }
    out.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

Status sync_data(const Fd& fd) {
  if (::fdatasync(fd.get()) != 0) return os_error("fdatasync", errno);
  return {};
}

Status sync_all(const Fd& fd) {
  if (::fsync(fd.get()) != 0) return os_error("fsync", errno);
  return {};
}

Status sync_file_system(const Fd& fd) {
  if (::syncfs(fd.get()) != 0) return os_error("syncfs", errno);
  return {};
}

Status truncate(const Fd& fd, std::uint64_t size_bytes) {
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return os_error("ftruncate", errno);
  }
  return {};
}

void begin_writeback(const Fd& fd, std::uint64_t offset, std::uint64_t size_bytes) {
  (void)::sync_file_range(fd.get(), static_cast<off64_t>(offset), static_cast<off64_t>(size_bytes),
                          SYNC_FILE_RANGE_WRITE);
}

Result<std::optional<DataRange>> next_data(const Fd& fd, std::uint64_t offset) {
  // ENXIO: nothing there. At the second call, too: the file may have been cut short since.
  const off_t begin = ::lseek(fd.get(), static_cast<off_t>(offset), SEEK_DATA);
  const off_t end = begin < 0 ? begin : ::lseek(fd.get(), begin, SEEK_HOLE);
  if (end < 0 && errno == ENXIO) return std::optional<DataRange>();
  if (end < 0) return os_error("look for data and holes", errno);
  return std::optional<DataRange>(
      DataRange{static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end)});
}

Result<bool> clone_range(const Fd& from,
                         std::uint64_t offset,
                         std::uint64_t length_bytes,
                         const Fd& to,
                         std::uint64_t to_offset) {
  file_clone_range range{};
  range.src_fd = from.get();
  range.src_offset = offset;
  range.src_length = length_bytes;
  range.dest_offset = to_offset;
  if (::ioctl(to.get(), FICLONERANGE, &range) == 0) return true;
  const int why = errno;
  if (why == EOPNOTSUPP || why == ENOTTY || why == EXDEV || why == EINVAL || why == EBADF ||
      why == ETXTBSY) {
    return false;
  }
  return os_error("clone a file", why);
}

Result<Fd> duplicate(const Fd& fd) {
  const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return os_error("duplicate a descriptor", errno);
  return Fd(copy);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

void disable_copy_on_write(const Fd& fd) {
  int flags = 0;
  if (::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  struct statfs raw{};
  if (::fstatfs(fd.get(), &raw) != 0 || raw.f_type != BTRFS_SUPER_MAGIC) return;
  flags |= FS_NOCOW_FL;
  // A file system that refuses the flag only costs the guarantee on a full disk there.
  (void)::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

Result<Space> space_of(const Fd& fd) {
  struct statfs raw{};
  if (::fstatfs(fd.get(), &raw) != 0) return os_error("fstatfs", errno);
  const auto block = static_cast<std::uint64_t>(raw.f_frsize != 0 ? raw.f_frsize : raw.f_bsize);
  return Space{.total_bytes = raw.f_blocks * block,
               .available_bytes = raw.f_bavail * block,
               .total_inodes = raw.f_files,
               .available_inodes = raw.f_ffree};
}

Result<FileSystem> file_system_of(const Fd& fd) {
  struct statfs raw{};
  if (::fstatfs(fd.get(), &raw) != 0) return os_error("fstatfs", errno);
  if (raw.f_type == EXT4_SUPER_MAGIC) return FileSystem::kExt4;
  if (raw.f_type == kXfsMagic) return FileSystem::kXfs;
  if (raw.f_type == BTRFS_SUPER_MAGIC) return FileSystem::kBtrfs;
  if (raw.f_type == TMPFS_MAGIC) return FileSystem::kTmpfs;
  if (raw.f_type == OVERLAYFS_SUPER_MAGIC) return FileSystem::kOverlay;
  return FileSystem::kOther;
}

Result<bool> is_btrfs_subvolume(const Fd& fd) {
  TRY_ASSIGN(const FileSystem kind, file_system_of(fd));
  if (kind != FileSystem::kBtrfs) return false;
  TRY_ASSIGN(const Stat stat, stat_fd(fd));
  return stat.type == FileType::kDirectory && stat.inode == kBtrfsSubvolumeRootInode;
}

namespace {

// Fills info; false where the kernel does not have the ioctl.
template <typename Info>
Result<bool> ask(const Fd& fd, unsigned long request, Info& info) {
  if (::ioctl(fd.get(), request, &info) == 0) return true;
  if (errno == ENOTTY) return false;
  return os_error("read the UUID of a file system", errno);
}

// As hex. f_fsid where the file system tells none: that of ext4 is made of the UUID, but that of
// xfs is its device number, which changes with a boot.
Result<std::string> file_system_uuid(const Fd& fd) {
  TRY_ASSIGN(const FileSystem kind, file_system_of(fd));
  if (kind == FileSystem::kExt4) {
    Ext4FsUuid info{.length = kUuidBytes, .flags = 0, .uuid = {}};
    TRY_ASSIGN(const bool told, ask(fd, kExt4GetFsUuid, info));
    if (told) return to_hex(std::as_bytes(std::span(info.uuid)));
  } else if (kind == FileSystem::kXfs) {
    XfsGeometryV1 info{};
    TRY_ASSIGN(const bool told, ask(fd, kXfsGeometryV1, info));
    if (!told) return os_error("read the UUID of an xfs file system", ENOTTY);
    return to_hex(std::as_bytes(std::span(info.uuid)));
  } else if (kind == FileSystem::kBtrfs) {
    btrfs_ioctl_fs_info_args info{};
    TRY_ASSIGN(const bool told, ask(fd, BTRFS_IOC_FS_INFO, info));
    if (told) return to_hex(std::as_bytes(std::span(info.fsid)));
  }
  struct statfs raw{};
  if (::fstatfs(fd.get(), &raw) != 0) return os_error("fstatfs", errno);
  return "fsid" + to_hex(std::as_bytes(std::span(&raw.f_fsid, 1)));
}

}  // namespace

Result<Handle> handle_of(const Fd& fd) {
  return handle_of(fd, fd);
}

Result<Handle> handle_of(const Fd& fd, const Fd& beside) {
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> storage{};
  auto* handle = reinterpret_cast<file_handle*>(storage.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(fd.get(), "", handle, &mount_id, AT_EMPTY_PATH) != 0) {
    return os_error("name_to_handle_at", errno);
  }
  TRY_ASSIGN(const std::string uuid, file_system_uuid(beside));
  const auto* bytes = reinterpret_cast<const std::byte*>(storage.data()) + sizeof(file_handle);
  return Handle{uuid + ":" + std::to_string(handle->handle_type) + ":" +
                to_hex({bytes, handle->handle_bytes})};
}

Status lock_exclusive(const Fd& fd) {
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return Error(Code::kBusy, "another process holds the lock");
    return os_error("flock", errno);
  }
  return {};
}

}  // namespace cairn::os
