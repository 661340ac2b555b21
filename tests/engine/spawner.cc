// cairn_fake_spawner: the fake engine's shim, one process that makes containers and outlives the
// engine. It starts them in their own mount, pid, ipc and uts namespaces, pumps their output into
// json-file logs, and reports exits. It is separate because a threaded process must not fork, and
// because containers must go on when the engine is killed. It ends when the engine is gone and its
// last container has ended, or kills all of them when the OWNER process ends.
//
// usage: cairn_fake_spawner ROOT FD LOCK OWNER
//   ROOT   the engine's directory: who looks for its processes finds this one by it
//   FD     a SOCK_SEQPACKET socket; requests and events are JSON (request.h)
//   LOCK   a locked file, unlocked once no request can come any more (spawn_client.py)
//   OWNER  a process id, or 0
#include <fcntl.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "birth.h"
#include "loop.h"

namespace {

using cairn::os::Fd;

// A descriptor that the engine left to this program, and that none of the containers gets.
Fd inherited(const char* number) {
  Fd fd(std::atoi(number));
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: cairn_fake_spawner ROOT FD LOCK OWNER\n", stderr);
    return 2;
  }
  Fd channel = inherited(argv[2]);
  Fd lock = inherited(argv[3]);
  const int owner = std::atoi(argv[4]);
  Fd watched = owner != 0 ? cairn::spawner::open_process(owner) : Fd();
  if (owner != 0 && !watched.valid()) {
    std::perror("cairn_fake_spawner: owner");
    return 1;
  }
  signal(SIGINT, SIG_IGN);
  cairn::spawner::Spawner(std::move(channel), std::move(lock), std::move(watched)).run();
  return 0;
}
