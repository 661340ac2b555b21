#include "os/unix_socket.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace cairn::os {

namespace {

constexpr int kBacklog = 128;
constexpr int kGroupBufferBytes = 64 * 1024;
constexpr std::size_t kPeerGroupsMax = 65536;  // NGROUPS_MAX

struct Address {
  sockaddr_un name{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

Result<Address> address_of(const std::string& path) {
  Address address;
  if (path.empty() || path[0] != '/') {
    return Error(Code::kInvalid, "socket path " + path + " is not absolute");
  }
  if (path.size() >= sizeof(address.name.sun_path)) {
    return Error(Code::kInvalid, "socket path " + path + " is longer than 107 bytes");
  }
  address.name.sun_family = AF_UNIX;
  std::memcpy(address.name.sun_path, path.c_str(), path.size() + 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

// Whether a socket lies there that nobody serves; false: nothing does. Everything else is refused.
Result<bool> is_stale(const std::string& path, const Address& address) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    const int saved = errno;
    if (saved == ENOENT) return false;
    return os_error("look at " + path, saved);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return Error(Code::kExists, path + " exists and is not a socket");
  }
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return os_error("make a socket", errno);
  if (::connect(probe.get(), address.get(), address.length) == 0) {
    return Error(Code::kConflict, "another process serves " + path);
  }
  const int saved = errno;
  if (saved == EAGAIN) return Error(Code::kConflict, "another process serves " + path);
  if (saved != ECONNREFUSED) return os_error("connect to " + path, saved);
  return true;
}

// Makes way for a new socket.
Status clear_stale(const std::string& path, const Address& address) {
  TRY_ASSIGN(const bool stale, is_stale(path, address));
  if (stale && ::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return os_error("remove " + path, errno);
  }
  return {};
}

Status ensure_parent(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('/'));
  if (parent.empty()) return {};
  if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST) {
    return os_error("make directory " + parent, errno);
  }
  return {};
}

}  // namespace

Status check_unix(const std::string& path) {
  TRY_ASSIGN(const Address address, address_of(path));
  const auto stale = is_stale(path, address);
  return stale.ok() ? Status() : Status(stale.error());
}

Result<Fd> listen_unix(const std::string& path, const std::string& group) {
  TRY_ASSIGN(const Address address, address_of(path));
  TRY(ensure_parent(path));
  TRY(clear_stale(path, address));
  TRY_ASSIGN(const std::optional<gid_t> gid, find_group(group));

  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.valid()) return os_error("make a socket", errno);
  // The file that bind makes takes the mode of the socket's own inode (unix_bind in the kernel), so
  // it is closed to others from its first moment.
  if (::fchmod(listener.get(), 0600) != 0) return os_error("set the socket's mode", errno);
  if (::bind(listener.get(), address.get(), address.length) != 0) {
    return os_error("bind " + path, errno);
  }
  if (gid.has_value() && ::lchown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) {
    return os_error("change the group of " + path, errno);
  }
  if (::chmod(path.c_str(), 0660) != 0) return os_error("change the mode of " + path, errno);
  if (::listen(listener.get(), kBacklog) != 0) return os_error("listen on " + path, errno);
  return listener;
}

void remove_socket(const std::string& path) {
  // Best effort by contract: the next start replaces a socket that nobody serves.
  (void)::unlink(path.c_str());
}

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return os_error("read the peer's credentials", errno);
  }
  Peer peer{.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid, .groups = {}};
  peer.groups.resize(64);
  for (;;) {
    length = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length) == 0) break;
    const int saved = errno;
    // With ERANGE the kernel has written the size that is needed.
    if (saved != ERANGE || length > kPeerGroupsMax * sizeof(gid_t)) {
      return os_error("read the peer's groups", saved);
    }
    peer.groups.resize(length / sizeof(gid_t));
  }
  peer.groups.resize(length / sizeof(gid_t));
  return peer;
}

Result<std::optional<gid_t>> find_group(const std::string& name) {
  group record{};
  group* found = nullptr;
  std::string buffer(kGroupBufferBytes, '\0');
  const int failed = ::getgrnam_r(name.c_str(), &record, buffer.data(), buffer.size(), &found);
  if (found != nullptr) return std::optional<gid_t>(record.gr_gid);
  // getgrnam_r(3): these say "no such group" on various systems.
  if (failed == 0 || failed == ENOENT || failed == ESRCH || failed == EBADF || failed == EPERM) {
    return std::optional<gid_t>();
  }
  return os_error("look up group " + name, failed);
}

}  // namespace cairn::os
