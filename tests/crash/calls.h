// The system calls that can change what a restart finds on disk (or what the container engine was
// asked to do), with the layout of their arguments. x86_64 Linux only.
#pragma once

#include <cstdint>

#if !defined(__x86_64__) || defined(__ILP32__)
#error "the tracer knows the x86_64 system call table only"
#endif

namespace cairn::crash {

// Where a call keeps its descriptors and paths; the numbers are argument positions.
enum class Shape : std::uint8_t {
  kOpen,       // path 0, flags 1
  kCreat,      // path 0
  kOpenat,     // dirfd 0, path 1, flags 2
  kOpenat2,    // dirfd 0, path 1, struct open_how* 2
  kFd,         // fd 0
  kFd2,        // fd 2 (copy_file_range and splice write to their third argument)
  kPath,       // path 0
  kAt,         // dirfd 0, path 1 (null or empty path: the descriptor itself)
  kTwoPaths,   // path 0, path 1
  kTwoAt,      // dirfd 0, path 1, dirfd 2, path 3
  kSymlink,    // text 0, path 1
  kSymlinkAt,  // text 0, dirfd 1, path 2
  kMount,      // path 1 is the mount point
  kConnect,    // fd 0, sockaddr* 1, length 2
  kNone,       // concerns no single file
};

enum class Class : std::uint8_t {
  kOpen,  // creates or truncates
  kData,  // moves bytes; a short count is legal
  kMeta,  // names, attributes, sizes
  kSync,  // makes things durable
  kNet,   // connect and send
  kMap,   // writable shared mapping: recorded, never counted
};

struct CallSpec {
  long number;
  const char* name;
  Shape shape;
  Class kind;
  int length_arg;  // argument that holds a byte count, or -1
};

// The entry for a system call number, or null when the call is not traced.
const CallSpec* find_call(long number);

// True for the ioctl commands that change files (clone, dedupe, btrfs subvolumes, flags).
bool is_changing_ioctl(std::uint32_t command);

// Installs, in the calling thread, the seccomp filter that stops traced calls for the tracer and
// refuses io_uring and kernel AIO (their writes would bypass the count). Returns 0 or an errno.
// Needs CAP_SYS_ADMIN, or sets no_new_privs when the caller is not root.
int install_filter(bool trace_mappings);

}  // namespace cairn::crash
