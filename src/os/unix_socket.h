// Listening Unix stream sockets and who is at the other end (unix(7)).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/fd.h"

namespace cairn::os {

// A listening socket at an absolute path, mode 0660, owned by root and, where it exists, by the
// group; non-blocking. It is never reachable with wider rights, not even for a moment. A socket
// file that nobody listens on is replaced; one that is served is kConflict; any other file there is
// kExists and stays. The parent directory is made 0755 when it is missing.
Result<Fd> listen_unix(const std::string& path, const std::string& group);
// What listen_unix() would refuse at that path now; changes nothing.
Status check_unix(const std::string& path);

// Removes the socket file, best effort: the next start replaces what stays.
void remove_socket(const std::string& path);

// Who connected, as the kernel recorded it at connect time (SO_PEERCRED, SO_PEERGROUPS).
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // the supplementary ones
};
Result<Peer> peer_of(int socket);

// The id of a group by name; nothing where the machine has no such group.
Result<std::optional<gid_t>> find_group(const std::string& name);

}  // namespace cairn::os
