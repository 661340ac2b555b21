// The spawner's loop: requests of the engine, output and ends of its processes. One thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "birth.h"
#include "os/fd.h"
#include "output.h"
#include "request.h"

namespace cairn::spawner {

class Spawner {
 public:
  // `lock` is unlocked once no request can come any more. `owner` is a pidfd, or not valid.
  Spawner(os::Fd channel, os::Fd lock, os::Fd owner);
  // Until the engine is gone and the last process has ended, or the owner has: it kills all then.
  void run();

 private:
  struct Child {
    pid_t pid = 0;
    os::Fd pidfd;
    std::string key;
    std::string directory;  // of a container, for its exit file; empty for a command in one
    os::Fd log;
    std::vector<int> outputs;
  };

  void serve(int descriptor);
  void kill_all() const;
  void take_request();
  Answer start_container(const RunRequest& request);
  Answer start_exec(const ExecRequest& request, const std::vector<os::Fd>& streams);
  Child& watch(Child child);
  void add_output(os::Fd pipe, const os::Fd& log, const char* stream);
  void watch(int descriptor);
  void end(int pidfd);
  void drain(int pipe, const Child& child);
  void send(std::string_view message);
  void lose_engine();

  os::Fd channel_;
  os::Fd lock_;
  os::Fd owner_;
  os::Fd poll_;
  os::Fd self_;
  os::Fd null_;
  bool connected_ = true;
  std::map<int, Child> children_;  // by pidfd
  std::map<int, Output> outputs_;  // by pipe; each goes before the log of its child
};

}  // namespace cairn::spawner
