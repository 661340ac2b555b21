// Reading, writing and syncing whole ranges of an open file. EINTR and short calls are handled.
// Every function is safe to call from several threads on different descriptors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "os/fd.h"

namespace cairn::os {

enum class FileType { kRegular, kDirectory, kSymlink, kFifo, kSocket, kBlockDevice, kCharDevice };

// What statx(2) says. Times in nanoseconds, sizes in bytes.
struct Stat {
  FileType type = FileType::kRegular;
  std::uint32_t mode = 0;  // permission bits with setuid, setgid, sticky: 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t blocks_bytes = 0;
  std::uint64_t inode = 0;
  std::uint64_t links = 0;
  std::uint64_t device = 0;          // st_dev
  std::uint64_t special_device = 0;  // st_rdev of a device node
  std::uint64_t mount_id = 0;
  Timespec mtime;
  Timespec atime;
  Timespec ctime;
};

Result<Stat> stat_fd(const Fd& fd);

// Writes all bytes at the file's position, or from offset.
Status write_all(const Fd& fd, ByteView bytes);
Status write_all_at(const Fd& fd, ByteView bytes, std::uint64_t offset);
// Reads up to buffer.size() bytes at offset; less only at the end of the file. The count read.
Result<std::size_t> read_at(const Fd& fd, std::span<std::byte> buffer, std::uint64_t offset);
// Reads from the current position to the end; kInvalid past max_bytes.
Result<std::string> read_all(const Fd& fd, std::size_t max_bytes);
// fdatasync(2) and fsync(2); what fails is lost for good: never retried, always reported.
Status sync_data(const Fd& fd);
Status sync_all(const Fd& fd);
// syncfs(2): the whole file system that holds fd.
Status sync_file_system(const Fd& fd);
Status truncate(const Fd& fd, std::uint64_t size_bytes);
// Asks the kernel to begin writing the dirty pages of size_bytes from offset, of 0 bytes: to the
// end (sync_file_range(2)); a later sync then waits less. Promises nothing and reports nothing.
void begin_writeback(const Fd& fd, std::uint64_t offset = 0, std::uint64_t size_bytes = 0);
// The next range that holds data at or after offset (lseek(2) SEEK_DATA); nothing where only a hole
// is left. File systems that do not know holes tell one range to the end.
struct DataRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
Result<std::optional<DataRange>> next_data(const Fd& fd, std::uint64_t offset);
// Makes to share from's blocks (ioctl_ficlonerange(2)): length_bytes from offset, at to_offset;
// both offsets multiples of 64 KiB, length_bytes 0: to the end of from. False where the file system
// cannot; nothing was changed then.
Result<bool> clone_range(const Fd& from,
                         std::uint64_t offset,
                         std::uint64_t length_bytes,
                         const Fd& to,
                         std::uint64_t to_offset);
// A descriptor of its own for the same open file.
Result<Fd> duplicate(const Fd& fd);
// Raises the soft limit on open files to the hard one (setrlimit(2)); walking deep trees holds one
// descriptor a level.
void raise_descriptor_limit();
// Marks a new empty file as not copy-on-write where the file system knows that (btrfs), so that
// rewriting it in place needs no space. Does nothing elsewhere.
void disable_copy_on_write(const Fd& fd);

// Space of the file system that holds fd.
struct Space {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;  // f_bavail
  std::uint64_t total_inodes = 0;     // 0: no limit
  std::uint64_t available_inodes = 0;
};
Result<Space> space_of(const Fd& fd);

enum class FileSystem { kExt4, kXfs, kBtrfs, kTmpfs, kOverlay, kOther };
Result<FileSystem> file_system_of(const Fd& fd);
// True where fd is the root directory of a btrfs subvolume.
Result<bool> is_btrfs_subvolume(const Fd& fd);

// An identity that survives reboots and is never reused while the file system lives: its UUID and
// the file handle (name_to_handle_at(2)), as hex text. Inode numbers are reused on ext4 and are 256
// for every btrfs subvolume.
struct Handle {
  std::string text;
  bool operator==(const Handle&) const = default;
  auto operator<=>(const Handle&) const = default;
};
// fd is open, not O_PATH.
Result<Handle> handle_of(const Fd& fd);
// fd may be O_PATH; beside is open and of the same file system, which it is asked for.
Result<Handle> handle_of(const Fd& fd, const Fd& beside);

// flock(2), exclusive, without waiting: kBusy where another process holds it.
Status lock_exclusive(const Fd& fd);

}  // namespace cairn::os
