// Server: HTTP/1.1 (RFC 9112) on a Unix socket. One thread moves bytes for all connections;
// handlers run on a fixed pool, calls that wait and event streams on a second, bounded one. Every
// size, count and time has a bound (api/limits.h).
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "api/http.h"
#include "base/result.h"
#include "os/unix_socket.h"

namespace cairn::api {

// Who a peer is to Cairn: root and the members of the admin group are admins.
Caller caller_of(const os::Peer& peer, std::optional<gid_t> admin_group);

struct ServerOptions {
  std::string socket_path;            // absolute
  std::string admin_group = "cairn";  // may be missing on the machine
  SpoolRule spool_rule = {};          // called on the network thread; empty: nothing is spooled
  std::string spool_directory = {};   // absolute; for files without a name
};

// start and stop belong to one thread. The handler is called from many threads at once and must not
// throw.
class Server {
 public:
  // Listens and serves. kConflict where another process serves the socket.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, Handler handler);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Takes no more connections, lets running handlers end and their answers leave, ends streams and
  // waits, and removes the socket. May be called again.
  void stop();

 private:
  class Loop;
  explicit Server(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace cairn::api
