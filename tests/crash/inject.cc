#include "inject.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace cairn::crash {
namespace {

// From the second line of fdinfo, "flags:" in octal.
bool appends(pid_t tid, int fd) {
  std::ifstream in("/proc/" + std::to_string(tid) + "/fdinfo/" + std::to_string(fd));
  std::string key;
  std::int64_t position = -1;
  unsigned flags = 0;
  return in >> key >> position >> key >> std::oct >> flags && (flags & O_APPEND) != 0;
}

bool write_needs_space(pid_t tid, const Call& call) {
  std::int64_t offset = -1;
  switch (call.spec->number) {
    case SYS_pwrite64:
    case SYS_pwritev:
    case SYS_pwritev2:
      offset = static_cast<std::int64_t>(call.args[3]);
      break;
    case SYS_write:
    case SYS_writev:
      offset = file_position(tid, static_cast<int>(call.args[0]));
      break;
    default:  // copies are to new places in practice
      return true;
  }
  struct stat status{};
  if (appends(tid, static_cast<int>(call.args[0]))) return true;
  if (offset < 0 || stat(call.places[0].link.c_str(), &status) != 0) return true;
  const bool whole = status.st_blocks * 512 >= status.st_size;
  return !whole || offset + call.length > status.st_size;
}

bool creates(const Call& call) {
  if ((call.flags & O_TMPFILE) == O_TMPFILE) return true;
  struct stat status{};
  return (call.flags & O_CREAT) != 0 && lstat(call.places[0].reach().c_str(), &status) != 0;
}

bool shorten_sendmsg(pid_t tid, user_regs_struct& registers) {
  msghdr header{};
  iovec first{};
  if (read_memory(tid, registers.rsi, &header, sizeof header) != sizeof header) return false;
  if (header.msg_controllen != 0 || header.msg_iovlen == 0) return false;
  const auto vector = reinterpret_cast<std::uint64_t>(header.msg_iov);
  if (read_memory(tid, vector, &first, sizeof first) != sizeof first) return false;
  const std::uint64_t length = header.msg_iovlen > 1 ? first.iov_len : first.iov_len / 2;
  if (length == 0) return false;
  registers.orig_rax = SYS_sendto;
  registers.r10 = registers.rdx;
  registers.rsi = reinterpret_cast<std::uint64_t>(first.iov_base);
  registers.rdx = length;
  registers.r8 = reinterpret_cast<std::uint64_t>(header.msg_name);
  registers.r9 = header.msg_namelen;
  return true;
}

bool shorten_vector(pid_t tid, user_regs_struct& registers) {
  iovec first{};
  if (registers.rdx == 0) return false;
  if (read_memory(tid, registers.rsi, &first, sizeof first) != sizeof first) return false;
  // A vector loses all but its first part; a single part becomes the plain call of half its size.
  const std::uint64_t length = registers.rdx > 1 ? first.iov_len : first.iov_len / 2;
  if (length == 0) return false;
  const bool at_position =
      registers.orig_rax == SYS_writev ||
      (registers.orig_rax == SYS_pwritev2 && registers.r10 == static_cast<std::uint64_t>(-1));
  registers.orig_rax = at_position ? SYS_write : SYS_pwrite64;
  registers.rsi = reinterpret_cast<std::uint64_t>(first.iov_base);
  registers.rdx = length;
  return true;
}

bool halve(unsigned long long& length) {
  if (length < 2) return false;
  length /= 2;
  return true;
}

}  // namespace

std::int64_t file_position(pid_t tid, int fd) {
  std::ifstream in("/proc/" + std::to_string(tid) + "/fdinfo/" + std::to_string(fd));
  std::string key;
  std::int64_t position = -1;
  return in >> key >> position ? position : -1;
}

bool needs_space(pid_t tid, const Call& call) {
  if (call.target != Target::kFile) return false;
  if (call.spec->kind == Class::kOpen) return creates(call);
  if (call.spec->kind == Class::kData) return write_needs_space(tid, call);
  switch (call.spec->number) {
    case SYS_fallocate:
      return (call.args[1] & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE)) == 0;
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2: {
      if ((call.flags & RENAME_EXCHANGE) != 0 || call.places.size() < 2) return false;
      const std::string& from = call.places[0].path;
      const std::string& to = call.places[1].path;
      return from.substr(0, from.rfind('/')) != to.substr(0, to.rfind('/'));
    }
    case SYS_link:
    case SYS_linkat:
    case SYS_symlink:
    case SYS_symlinkat:
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_mknod:
    case SYS_mknodat:
    case SYS_setxattr:
    case SYS_lsetxattr:
    case SYS_fsetxattr:
      return true;
    case SYS_ioctl:
      return call.args[1] == FICLONE || call.args[1] == FICLONERANGE;
    default:
      return false;
  }
}

bool asks_only(pid_t tid, const Call& call) {
  if (call.target != Target::kSocket || call.spec->number != SYS_sendto) return false;
  std::array<char, 4> begin{};
  return read_memory(tid, call.args[1], begin.data(), begin.size()) == begin.size() &&
         std::string_view(begin.data(), begin.size()) == "GET ";
}

bool shorten(pid_t tid, const Call& call, user_regs_struct& registers) {
  switch (call.spec->number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_sendto:
      return halve(registers.rdx);
    case SYS_sendfile:
      return halve(registers.r10);
    case SYS_copy_file_range:
    case SYS_splice:
      return halve(registers.r8);
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
      return shorten_vector(tid, registers);
    case SYS_sendmsg:
      return shorten_sendmsg(tid, registers);
    default:
      return false;
  }
}

int socket_error(const Call& call, int error) {
  if (error != ENOSPC && error != EIO && error != EROFS) return error;
  return call.spec->number == SYS_connect ? ECONNREFUSED : EPIPE;
}

}  // namespace cairn::crash
