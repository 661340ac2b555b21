#include "tracee.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cairn::crash {
namespace {

// At most one page: all that is wanted from these files comes first.
std::string read_file(const std::string& path) {
  char text[4096];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t size = read(fd, text, sizeof text);
  close(fd);
  return {text, size < 0 ? 0 : static_cast<std::size_t>(size)};
}

// Lets a path that goes through the tracee's own /proc/self be followed by the tracer.
std::string without_self(pid_t tid, std::string path) {
  for (const char* self : {"/proc/self/", "/proc/thread-self/"}) {
    if (path.rfind(self, 0) == 0) {
      return "/proc/" + std::to_string(tid) + "/" + path.substr(std::strlen(self));
    }
  }
  return path;
}

// The real path of a directory the tracer can reach, empty when it cannot be opened.
std::string real_directory(const std::string& link) {
  const int fd = open(link.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text = link_text("/proc/self/fd/" + std::to_string(fd));
  close(fd);
  return text;
}

Place fd_place(pid_t tid, int fd) {
  Place place;
  place.is_fd = true;
  place.link = fd_link(tid, fd);
  place.path = link_text(place.link);
  return place;
}

Place path_place(pid_t tid, int dirfd, const std::string& given) {
  std::string path = without_self(tid, given);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string proc = "/proc/" + std::to_string(tid);
  std::string base = path.starts_with("/proc/") ? ""
                     : path.starts_with('/')    ? proc + "/root"
                     : dirfd == AT_FDCWD        ? proc + "/cwd/"
                                                : fd_link(tid, dirfd) + "/";
  const std::string whole = base + path;
  const std::size_t slash = whole.rfind('/');
  Place place;
  place.link = slash == 0 ? "/" : whole.substr(0, slash);
  place.name = whole.substr(slash + 1);
  // A magic link names an open file, most often as the source of linkat().
  if (path.starts_with("/proc/") && place.link.ends_with("/fd")) {
    place.is_fd = true;
    place.link = whole;
    place.name.clear();
    place.path = link_text(whole);
    return place;
  }
  const std::string parent = real_directory(place.link);
  place.path = parent.empty() ? given : (parent == "/" ? "" : parent) + "/" + place.name;
  return place;
}

Place at_place(pid_t tid, std::uint64_t dirfd, std::uint64_t address) {
  const int fd = static_cast<int>(dirfd);
  if (address == 0) return fd_place(tid, fd);
  const std::string path = read_string(tid, address).value_or("");
  if (path.empty()) return fd_place(tid, fd);
  return path_place(tid, fd, path);
}

std::int64_t vector_length(pid_t tid, std::uint64_t address, std::uint64_t count) {
  std::array<iovec, IOV_MAX> parts;
  const std::size_t wanted = std::min<std::size_t>(count, parts.size()) * sizeof(iovec);
  const std::size_t have = read_memory(tid, address, parts.data(), wanted) / sizeof(iovec);
  std::int64_t total = 0;
  for (std::size_t i = 0; i < have; ++i) total += static_cast<std::int64_t>(parts[i].iov_len);
  return total;
}

std::int64_t call_length(pid_t tid, const CallSpec& spec, const Arguments& args) {
  if (spec.length_arg >= 0) {
    return static_cast<std::int64_t>(args[static_cast<std::size_t>(spec.length_arg)]);
  }
  if (spec.number == SYS_writev || spec.number == SYS_pwritev || spec.number == SYS_pwritev2) {
    return vector_length(tid, args[1], args[2]);
  }
  if (spec.number == SYS_sendmsg) {
    msghdr header{};
    if (read_memory(tid, args[1], &header, sizeof header) != sizeof header) return -1;
    return vector_length(tid, reinterpret_cast<std::uint64_t>(header.msg_iov), header.msg_iovlen);
  }
  return -1;
}

Target target_of(const Place& place) {
  struct stat status{};
  if (stat(place.link.c_str(), &status) != 0) return Target::kOther;
  if (S_ISSOCK(status.st_mode)) return Target::kSocket;
  const bool on_disk =
      S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode);
  const bool kernel_made = place.path.starts_with("/proc/") || place.path.starts_with("/memfd:") ||
                           !place.path.starts_with('/');
  return on_disk && !kernel_made ? Target::kFile : Target::kOther;
}

// The name of a socket address: a path, "@abstract", "inet" or empty for what stays unnamed.
std::string address_name(const sockaddr_storage& address, std::size_t size) {
  if (address.ss_family == AF_INET || address.ss_family == AF_INET6) return "inet";
  if (address.ss_family != AF_UNIX) return {};
  sockaddr_un name{};
  std::memcpy(&name, &address, std::min(size, sizeof name));
  const std::size_t head = offsetof(sockaddr_un, sun_path);
  if (size <= head) return {};
  const std::size_t room = std::min(size, sizeof name) - head;
  if (name.sun_path[0] == '\0') return "@" + std::string(name.sun_path + 1, room - 1);
  return {name.sun_path, strnlen(name.sun_path, room)};
}

// /var/run/x and /run/x are one socket; "inet" and "@name" stay words.
std::string real_socket_path(pid_t tid, const std::string& name) {
  if (name.empty() || name == "inet" || name.starts_with('@')) return name;
  return path_place(tid, AT_FDCWD, name).path;
}

// Asks the socket itself for its peer, or for its own name when the peer has none (an accepted
// connection): a socket's link in /proc says nothing but its inode.
std::string socket_name(pid_t tid, int fd) {
  const int process = static_cast<int>(syscall(SYS_pidfd_open, thread_group(tid), 0));
  if (process < 0) return {};
  const int copy = static_cast<int>(syscall(SYS_pidfd_getfd, process, fd, 0));
  close(process);
  if (copy < 0) return {};
  std::string name;
  for (auto* ask : {&getpeername, &getsockname}) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (!name.empty()) break;
    if (ask(copy, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
      name = address_name(address, size);
    }
  }
  close(copy);
  return name;
}

void decode_connect(pid_t tid, Call& call) {
  sockaddr_storage address{};
  const std::size_t size = std::min<std::size_t>(call.args[2], sizeof address);
  Place place = fd_place(tid, static_cast<int>(call.args[0]));
  if (read_memory(tid, call.args[1], &address, size) == size) {
    place.path = real_socket_path(tid, address_name(address, size));
  }
  call.target = place.path.empty() ? Target::kOther : Target::kSocket;
  call.places.push_back(std::move(place));
}

void decode_fd(pid_t tid, Call& call, std::uint64_t fd) {
  Place place = fd_place(tid, static_cast<int>(fd));
  call.target = target_of(place);
  if (call.target == Target::kSocket) {
    // Pairs and netlink have no name: they are the program talking to itself or to the kernel.
    place.path = real_socket_path(tid, socket_name(tid, static_cast<int>(fd)));
    if (place.path.empty()) call.target = Target::kOther;
  }
  call.places.push_back(std::move(place));
}

void decode_paths(pid_t tid, Call& call) {
  const Arguments& args = call.args;
  const auto here = static_cast<std::uint64_t>(AT_FDCWD);
  call.target = Target::kFile;
  switch (call.spec->shape) {
    case Shape::kOpen:
      call.flags = args[1];
      call.mode = args[2];
      call.places.push_back(at_place(tid, here, args[0]));
      break;
    case Shape::kCreat:
      call.flags = O_CREAT | O_TRUNC | O_WRONLY;
      call.mode = args[1];
      call.places.push_back(at_place(tid, here, args[0]));
      break;
    case Shape::kOpenat:
      call.flags = args[2];
      call.mode = args[3];
      call.places.push_back(at_place(tid, args[0], args[1]));
      break;
    case Shape::kOpenat2: {
      open_how how{};
      read_memory(tid, args[2], &how, std::min<std::size_t>(args[3], sizeof how));
      call.flags = how.flags;
      call.mode = how.mode;
      call.places.push_back(at_place(tid, args[0], args[1]));
      break;
    }
    case Shape::kPath:
      call.places.push_back(at_place(tid, here, args[0]));
      break;
    case Shape::kAt:
      if (call.spec->number == SYS_unlinkat) call.flags = args[2];
      call.places.push_back(at_place(tid, args[0], args[1]));
      break;
    case Shape::kTwoPaths:
      call.places.push_back(at_place(tid, here, args[0]));
      call.places.push_back(at_place(tid, here, args[1]));
      break;
    case Shape::kTwoAt:
      if (call.spec->number != SYS_renameat) call.flags = args[4];
      call.places.push_back(at_place(tid, args[0], args[1]));
      call.places.push_back(at_place(tid, args[2], args[3]));
      break;
    case Shape::kSymlink:
    case Shape::kMount:
      call.places.push_back(at_place(tid, here, args[1]));
      break;
    case Shape::kSymlinkAt:
      call.places.push_back(at_place(tid, args[1], args[2]));
      break;
    case Shape::kFd:
    case Shape::kFd2:
    case Shape::kConnect:
    case Shape::kNone:
      break;
  }
}

}  // namespace

Arguments arguments_of(const user_regs_struct& registers) {
  return {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9};
}

std::size_t read_memory(pid_t tid, std::uint64_t address, void* buffer, std::size_t size) {
  iovec local = {buffer, size};
  iovec remote = {reinterpret_cast<void*>(address), size};
  const ssize_t got = process_vm_readv(tid, &local, 1, &remote, 1, 0);
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

bool write_memory(pid_t tid, std::uint64_t address, const void* buffer, std::size_t size) {
  iovec local = {const_cast<void*>(buffer), size};
  iovec remote = {reinterpret_cast<void*>(address), size};
  return process_vm_writev(tid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

std::optional<std::string> read_string(pid_t tid, std::uint64_t address) {
  constexpr std::uint64_t kPage = 4096;
  std::string text;
  while (text.size() < PATH_MAX) {
    // Up to the end of the page: the next one may not be mapped.
    char part[kPage];
    const std::size_t size = kPage - address % kPage;
    const std::size_t got = read_memory(tid, address, part, size);
    if (got == 0) return std::nullopt;
    const std::size_t length = strnlen(part, got);
    text.append(part, length);
    if (length < got) return text;
    address += got;
  }
  return std::nullopt;
}

std::string fd_link(pid_t tid, int fd) {
  return "/proc/" + std::to_string(tid) + "/fd/" + std::to_string(fd);
}

std::string link_text(const std::string& path) {
  char text[PATH_MAX];
  const ssize_t size = readlink(path.c_str(), text, sizeof text);
  return size < 0 ? std::string() : std::string(text, static_cast<std::size_t>(size));
}

pid_t thread_group(pid_t tid) {
  const std::string status = read_file("/proc/" + std::to_string(tid) + "/status");
  const std::size_t at = status.find("\nTgid:");
  return at == std::string::npos ? 0 : std::atoi(status.c_str() + at + 6);
}

std::string thread_name(pid_t tid) {
  std::string name = read_file("/proc/" + std::to_string(tid) + "/comm");
  if (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

pid_t session_of(pid_t pid) {
  const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t close_paren = stat.rfind(')');
  if (close_paren == std::string::npos) return 0;
  int parent = 0;
  int group = 0;
  int session = 0;
  char state = 0;
  const char* rest = stat.c_str() + close_paren + 1;
  return std::sscanf(rest, " %c %d %d %d", &state, &parent, &group, &session) == 4 ? session : 0;
}

bool opens_to_change(pid_t tid, const Arguments& args) {
  constexpr std::uint64_t kChanging = O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
  open_how how{};
  read_memory(tid, args[2], &how, std::min<std::size_t>(args[3], sizeof how));
  return (how.flags & kChanging) != 0;
}

Call decode_call(pid_t tid, const CallSpec& spec, const Arguments& args) {
  Call call;
  call.spec = &spec;
  call.args = args;
  call.length = call_length(tid, spec, args);
  switch (spec.shape) {
    case Shape::kFd:
      decode_fd(tid, call, args[0]);
      break;
    case Shape::kFd2:
      decode_fd(tid, call, args[2]);
      break;
    case Shape::kConnect:
      decode_connect(tid, call);
      break;
    case Shape::kNone:
      if (spec.kind == Class::kMap) {
        if (static_cast<int>(args[4]) >= 0) decode_fd(tid, call, args[4]);
      } else {
        call.target = Target::kFile;
      }
      break;
    case Shape::kOpen:
    case Shape::kCreat:
    case Shape::kOpenat:
    case Shape::kOpenat2:
    case Shape::kPath:
    case Shape::kAt:
    case Shape::kTwoPaths:
    case Shape::kTwoAt:
    case Shape::kSymlink:
    case Shape::kSymlinkAt:
    case Shape::kMount:
      decode_paths(tid, call);
      break;
  }
  return call;
}

}  // namespace cairn::crash
