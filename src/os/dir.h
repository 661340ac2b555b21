// Dir: a held directory descriptor. Every durable change of Cairn goes through it, by descriptor,
// one name at a time; no path is walked twice. docs/ordering.md states the orders it is used in.
// A const Dir may be used by several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "os/fd.h"
#include "os/file.h"

namespace cairn::os {

inline constexpr std::size_t kNameBytesMax = 255;
inline constexpr std::size_t kTreeDepthMax = 4096;

// kInvalid unless name is one component that can be made in a directory: not empty, not "." or
// "..", no "/" and no NUL, at most 255 bytes. Any other byte is fine.
Status check_component(std::string_view name);

struct Entry {
  std::string name;
  // As getdents64(2) tells; kRegular may be wrong on file systems that do not tell: stat() decides.
  FileType type = FileType::kRegular;
};

enum class Crossing { kAllow, kRefuse };  // may a path lead onto another mount?

struct Xattr {
  std::string name;
  std::string value;
  bool operator==(const Xattr&) const = default;
};

class Dir {
 public:
  // Opens an absolute path as the administrator wrote it, links followed.
  static Result<Dir> open(const std::string& absolute_path);
  // Takes an open directory.
  static Dir adopt(Fd fd) { return Dir(std::move(fd)); }

  [[nodiscard]] const Fd& fd() const { return fd_; }
  [[nodiscard]] Result<Dir> clone() const;

  // Opens beneath this directory; relative paths of several components are allowed, links are
  // never followed (openat2(2) RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS).
  [[nodiscard]] Result<Dir> open_dir(const std::string& path,
                                     Crossing crossing = Crossing::kAllow) const;
  // Opens a directory as a process whose root this directory is would: its absolute links start
  // here (RESOLVE_IN_ROOT). For looking into a container; never a check of a name.
  [[nodiscard]] Result<Dir> open_in_root(const std::string& path) const;
  // flags as for open(2); O_CLOEXEC and O_NOFOLLOW are added.
  [[nodiscard]] Result<Fd> open_file(const std::string& path,
                                     int flags,
                                     std::uint32_t mode = 0600,
                                     Crossing crossing = Crossing::kAllow) const;
  // A descriptor that only names the object (O_PATH), whatever it is.
  [[nodiscard]] Result<Fd> open_path(const std::string& path) const;

  [[nodiscard]] Result<Stat> stat() const { return stat_fd(fd_); }
  [[nodiscard]] Result<Stat> stat(const std::string& name) const;
  // Nothing where the name does not exist.
  [[nodiscard]] Result<std::optional<Stat>> find(const std::string& name) const;
  [[nodiscard]] Result<Handle> handle() const { return handle_of(fd_); }
  [[nodiscard]] Result<Handle> handle(const std::string& name) const;

  // All entries but "." and "..", in the file system's order.
  [[nodiscard]] Result<std::vector<Entry>> list() const;
  // The same of a descriptor that was opened for this and that nobody lists by again, as it moves
  // its read position; saves the opening of another one.
  [[nodiscard]] Result<std::vector<Entry>> list_once() const;
  // The whole of a regular file; kInvalid past max_bytes.
  [[nodiscard]] Result<std::string> read_file(const std::string& name, std::size_t max_bytes) const;

  Status make_dir(const std::string& name, std::uint32_t mode) const;
  // Makes the directory unless it is there, and opens it. Does not sync.
  [[nodiscard]] Result<Dir> ensure_dir(const std::string& name, std::uint32_t mode) const;
  Status make_symlink(const std::string& target, const std::string& name) const;
  Status make_node(const std::string& name,
                   FileType type,
                   std::uint32_t mode,
                   std::uint64_t special_device) const;
  // A further name for an open file (by descriptor, so that no path is trusted).
  Status link_file(const Fd& file, const std::string& name) const;

  // Makes an invisible file, durable under its name after commit: O_TMPFILE, write, fdatasync,
  // linkat, fsync of the directory. kExists where the name is taken; nothing is left on failure.
  Status publish_file(const std::string& name, ByteView content, std::uint32_t mode) const;

  Status remove_file(const std::string& name) const;
  Status remove_dir(const std::string& name) const;
  // False where it holds something and stays; one that is not there counts as removed.
  Result<bool> remove_dir_if_empty(const std::string& name) const;
  // Removes a tree by descriptor, btrfs subvolumes in it too; stops with kConflict at a mount. A
  // name that is not there is fine. What a failure leaves behind is a smaller tree.
  Status remove_tree(const std::string& name) const;

  // renameat2(2): refuses to replace / swaps two names in one step. Neither syncs.
  Status rename_to(const std::string& name, const Dir& to, const std::string& new_name) const;
  Status exchange(const std::string& name, const Dir& other, const std::string& other_name) const;
  // fsync of this directory: its entries are durable.
  Status sync() const { return sync_all(fd_); }

 private:
  explicit Dir(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// The absolute path, links resolved, by which the kernel knows an open directory now.
Result<std::string> path_of(const Fd& fd);

// The target of the symbolic link that an O_PATH descriptor names.
Result<std::string> read_link(const Fd& named);
// Extended attributes of an open object (O_PATH too), sorted by name.
Result<std::vector<Xattr>> list_xattrs(const Fd& fd);
// Opens the object that an O_PATH descriptor names, so that a check of what it is holds; flags as
// for open(2), O_CLOEXEC is added.
Result<Fd> reopen(const Fd& named, int flags);
Status set_xattr(const Fd& fd, const Xattr& xattr);
Status remove_xattr(const Fd& fd, const std::string& name);
Status change_owner(const Fd& fd, std::uint32_t uid, std::uint32_t gid);
// chmod by descriptor; not for symbolic links.
Status change_mode(const Fd& fd, std::uint32_t mode);
Status change_times(const Fd& fd, Timespec atime, Timespec mtime);
// The same, leaving the access time alone.
Status change_mtime(const Fd& fd, Timespec mtime);

// What opening a directory that was listed a moment ago answers where its name went away, or where
// something that is no directory took it: whoever is not held still may do that at any time.
bool is_gone(const Error& error);

// Sizes of a tree, by descriptor, not crossing mounts: what a restore or capture would handle.
struct TreeSize {
  std::uint64_t bytes = 0;    // sizes of regular files
  std::uint64_t entries = 0;  // all entries with the root
};
// kCancelled where stop was requested meanwhile.
Result<TreeSize> measure_tree(const Dir& root, const std::stop_token& stop = {});

// A btrfs subvolume named name in dir.
Status make_btrfs_subvolume(const Dir& dir, const std::string& name);

}  // namespace cairn::os
