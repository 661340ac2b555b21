// How a process of the fake engine begins: it shares the spawner's memory, which stands still
// meanwhile, until it runs its program (as after vfork). Nothing is copied then: a fork costs a
// page fault for each page that either side writes to afterwards. One thread only.
//
// What a body still holds on the heap when the program begins is never freed: let its caller own
// it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/fd.h"
#include "request.h"

namespace cairn::spawner {

// "WHAT OBJECT: the error of `number`".
Failure system_failure(int number, std::string_view what, std::string_view object = {});

// The new process's side: what it says here, its spawner finds once it has ended.
class Report {
 public:
  // Ends the new process when the call that gave `result` failed.
  void check(long result, std::string_view what, std::string_view object = {});
  [[noreturn]] void fail(Failure failure);

  [[nodiscard]] const std::optional<Failure>& failure() const { return failure_; }

 private:
  std::optional<Failure> failure_;
};

struct Birth {
  pid_t pid = -1;
  os::Fd pidfd;
  std::optional<Failure> failure;  // the process is gone then
};

// Runs `body` in a new process, which is in `namespaces` (CLONE_NEWx) of its own and in the cgroup
// from the beginning (a move into it is slow), until it has run a program or failed.
Birth start_process(std::uint64_t namespaces,
                    const os::Fd& cgroup,
                    const std::function<void(Report&)>& body);

// A program as execve takes it, with every place where it may be.
class Executable {
 public:
  // `program` must outlive it, and may be empty: there is no such thing to run then.
  explicit Executable(const Program& program);
  // Becomes the program; reports as runc does when there is none.
  [[noreturn]] void run(Report& report) const;

 private:
  std::string name_;
  std::vector<std::string> places_;
  std::vector<char*> argv_;
  std::vector<char*> env_;
};

// A pidfd; not valid, and errno, where there is no such process.
os::Fd open_process(pid_t pid);
void kill_process(const os::Fd& pidfd);
// The exit code as a shell tells it (128 + signal). Waits for the end.
int reap(pid_t pid);

}  // namespace cairn::spawner
