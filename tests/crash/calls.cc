#include "calls.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace cairn::crash {
namespace {

// Newer than Debian 12's headers; the numbers are fixed ABI (arch/x86/entry/syscalls).
constexpr long kFchmodat2 = 452;
constexpr long kSetxattrat = 463;
constexpr long kRemovexattrat = 466;

constexpr std::array kCalls = {
    CallSpec{SYS_open, "open", Shape::kOpen, Class::kOpen, -1},
    CallSpec{SYS_creat, "creat", Shape::kCreat, Class::kOpen, -1},
    CallSpec{SYS_openat, "openat", Shape::kOpenat, Class::kOpen, -1},
    CallSpec{SYS_openat2, "openat2", Shape::kOpenat2, Class::kOpen, -1},
    CallSpec{SYS_write, "write", Shape::kFd, Class::kData, 2},
    CallSpec{SYS_writev, "writev", Shape::kFd, Class::kData, -1},
    CallSpec{SYS_pwrite64, "pwrite64", Shape::kFd, Class::kData, 2},
    CallSpec{SYS_pwritev, "pwritev", Shape::kFd, Class::kData, -1},
    CallSpec{SYS_pwritev2, "pwritev2", Shape::kFd, Class::kData, -1},
    CallSpec{SYS_sendfile, "sendfile", Shape::kFd, Class::kData, 3},
    CallSpec{SYS_copy_file_range, "copy_file_range", Shape::kFd2, Class::kData, 4},
    CallSpec{SYS_splice, "splice", Shape::kFd2, Class::kData, 4},
    CallSpec{SYS_sendto, "sendto", Shape::kFd, Class::kNet, 2},
    CallSpec{SYS_sendmsg, "sendmsg", Shape::kFd, Class::kNet, -1},
    CallSpec{SYS_sendmmsg, "sendmmsg", Shape::kFd, Class::kNet, -1},
    CallSpec{SYS_connect, "connect", Shape::kConnect, Class::kNet, -1},
    CallSpec{SYS_truncate, "truncate", Shape::kPath, Class::kMeta, 1},
    CallSpec{SYS_ftruncate, "ftruncate", Shape::kFd, Class::kMeta, 1},
    CallSpec{SYS_fallocate, "fallocate", Shape::kFd, Class::kMeta, 3},
    CallSpec{SYS_rename, "rename", Shape::kTwoPaths, Class::kMeta, -1},
    CallSpec{SYS_renameat, "renameat", Shape::kTwoAt, Class::kMeta, -1},
    CallSpec{SYS_renameat2, "renameat2", Shape::kTwoAt, Class::kMeta, -1},
    CallSpec{SYS_link, "link", Shape::kTwoPaths, Class::kMeta, -1},
    CallSpec{SYS_linkat, "linkat", Shape::kTwoAt, Class::kMeta, -1},
    CallSpec{SYS_symlink, "symlink", Shape::kSymlink, Class::kMeta, -1},
    CallSpec{SYS_symlinkat, "symlinkat", Shape::kSymlinkAt, Class::kMeta, -1},
    CallSpec{SYS_unlink, "unlink", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_unlinkat, "unlinkat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_rmdir, "rmdir", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_mkdir, "mkdir", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_mkdirat, "mkdirat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_mknod, "mknod", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_mknodat, "mknodat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_chmod, "chmod", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_fchmod, "fchmod", Shape::kFd, Class::kMeta, -1},
    CallSpec{SYS_fchmodat, "fchmodat", Shape::kAt, Class::kMeta, -1},
    CallSpec{kFchmodat2, "fchmodat2", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_chown, "chown", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_lchown, "lchown", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_fchown, "fchown", Shape::kFd, Class::kMeta, -1},
    CallSpec{SYS_fchownat, "fchownat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_utime, "utime", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_utimes, "utimes", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_futimesat, "futimesat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_utimensat, "utimensat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_setxattr, "setxattr", Shape::kPath, Class::kMeta, 3},
    CallSpec{SYS_lsetxattr, "lsetxattr", Shape::kPath, Class::kMeta, 3},
    CallSpec{SYS_fsetxattr, "fsetxattr", Shape::kFd, Class::kMeta, 3},
    CallSpec{SYS_removexattr, "removexattr", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_lremovexattr, "lremovexattr", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_fremovexattr, "fremovexattr", Shape::kFd, Class::kMeta, -1},
    CallSpec{kSetxattrat, "setxattrat", Shape::kAt, Class::kMeta, -1},
    CallSpec{kRemovexattrat, "removexattrat", Shape::kAt, Class::kMeta, -1},
    CallSpec{SYS_ioctl, "ioctl", Shape::kFd, Class::kMeta, -1},
    CallSpec{SYS_fsync, "fsync", Shape::kFd, Class::kSync, -1},
    CallSpec{SYS_fdatasync, "fdatasync", Shape::kFd, Class::kSync, -1},
    CallSpec{SYS_syncfs, "syncfs", Shape::kFd, Class::kSync, -1},
    CallSpec{SYS_sync_file_range, "sync_file_range", Shape::kFd, Class::kSync, 2},
    CallSpec{SYS_sync, "sync", Shape::kNone, Class::kSync, -1},
    CallSpec{SYS_mount, "mount", Shape::kMount, Class::kMeta, -1},
    CallSpec{SYS_umount2, "umount2", Shape::kPath, Class::kMeta, -1},
    CallSpec{SYS_move_mount, "move_mount", Shape::kTwoAt, Class::kMeta, -1},
    CallSpec{SYS_mmap, "mmap", Shape::kNone, Class::kMap, 1},
};

// _IOW(0x94, 9, int) and neighbours, include/uapi/linux/fs.h and btrfs.h.
constexpr std::array<std::uint32_t, 12> kIoctls = {
    0x40049409U,  // FICLONE
    0x4020940dU,  // FICLONERANGE
    0xc0189436U,  // FIDEDUPERANGE
    0x40086602U,  // FS_IOC_SETFLAGS
    0x401c5820U,  // FS_IOC_FSSETXATTR
    0x5000940eU,  // BTRFS_IOC_SUBVOL_CREATE
    0x50009418U,  // BTRFS_IOC_SUBVOL_CREATE_V2
    0x50009401U,  // BTRFS_IOC_SNAP_CREATE
    0x50009417U,  // BTRFS_IOC_SNAP_CREATE_V2
    0x5000940fU,  // BTRFS_IOC_SNAP_DESTROY
    0x5000943fU,  // BTRFS_IOC_SNAP_DESTROY_V2
    0x4008941aU,  // BTRFS_IOC_SUBVOL_SETFLAGS
};

constexpr std::uint32_t kOpenMask = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
constexpr std::uint32_t kX32Bit = 0x40000000U;
constexpr std::uint32_t kRefuse = SECCOMP_RET_ERRNO | ENOSYS;

using Program = std::vector<sock_filter>;

void statement(Program& program, unsigned code, std::size_t value) {
  program.push_back({static_cast<std::uint16_t>(code), 0, 0, static_cast<std::uint32_t>(value)});
}

void jump(Program& program, unsigned code, std::size_t value, std::size_t yes, std::size_t no) {
  program.push_back({static_cast<std::uint16_t>(BPF_JMP | code | BPF_K),
                     static_cast<std::uint8_t>(yes), static_cast<std::uint8_t>(no),
                     static_cast<std::uint32_t>(value)});
}

void load(Program& program, std::size_t offset) {
  statement(program, BPF_LD | BPF_W | BPF_ABS, offset);
}

void answer(Program& program, std::uint32_t action) {
  statement(program, BPF_RET | BPF_K, action);
}

std::size_t argument(int index) {
  return offsetof(seccomp_data, args) + sizeof(std::uint64_t) * static_cast<std::size_t>(index);
}

// if (nr == number) { if (args[index] & mask) trace; allow; }
void trace_if_flag(Program& program, long number, int index, std::uint32_t mask) {
  jump(program, BPF_JEQ, static_cast<std::size_t>(number), 0, 4);
  load(program, argument(index));
  jump(program, BPF_JSET, mask, 0, 1);
  answer(program, SECCOMP_RET_TRACE);
  answer(program, SECCOMP_RET_ALLOW);
}

void trace_call(Program& program, const CallSpec& call) {
  if (call.number == SYS_open) return trace_if_flag(program, call.number, 1, kOpenMask);
  if (call.number == SYS_openat) return trace_if_flag(program, call.number, 2, kOpenMask);
  if (call.number == SYS_ioctl) {
    jump(program, BPF_JEQ, SYS_ioctl, 0, 2 + 2 * kIoctls.size());
    load(program, argument(1));
    for (std::uint32_t command : kIoctls) {
      jump(program, BPF_JEQ, command, 0, 1);
      answer(program, SECCOMP_RET_TRACE);
    }
    return answer(program, SECCOMP_RET_ALLOW);
  }
  if (call.number == SYS_mmap) {
    jump(program, BPF_JEQ, SYS_mmap, 0, 6);
    load(program, argument(2));
    jump(program, BPF_JSET, PROT_WRITE, 0, 3);
    load(program, argument(3));
    jump(program, BPF_JSET, MAP_SHARED, 0, 1);
    answer(program, SECCOMP_RET_TRACE);
    return answer(program, SECCOMP_RET_ALLOW);
  }
  jump(program, BPF_JEQ, static_cast<std::size_t>(call.number), 0, 1);
  answer(program, SECCOMP_RET_TRACE);
}

Program build_filter(bool trace_mappings) {
  Program program;
  load(program, offsetof(seccomp_data, arch));
  jump(program, BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
  answer(program, kRefuse);
  load(program, offsetof(seccomp_data, nr));
  jump(program, BPF_JGE, kX32Bit, 0, 1);
  answer(program, kRefuse);
  for (long number : {SYS_io_uring_setup, SYS_io_setup}) {
    jump(program, BPF_JEQ, static_cast<std::size_t>(number), 0, 1);
    answer(program, kRefuse);
  }
  for (const CallSpec& call : kCalls) {
    if (call.kind == Class::kMap && !trace_mappings) continue;
    trace_call(program, call);
  }
  answer(program, SECCOMP_RET_ALLOW);
  return program;
}

}  // namespace

const CallSpec* find_call(long number) {
  for (const CallSpec& call : kCalls) {
    if (call.number == number) return &call;
  }
  return nullptr;
}

bool is_changing_ioctl(std::uint32_t command) {
  for (std::uint32_t known : kIoctls) {
    if (known == command) return true;
  }
  return false;
}

int install_filter(bool trace_mappings) {
  Program program = build_filter(trace_mappings);
  sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  // Root keeps set-user-id programs working; others can install a filter only without new rights.
  if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) return errno;
  return 0;
}

}  // namespace cairn::crash
