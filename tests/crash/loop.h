// The tracing loop: starts the program, follows its threads and children, counts, injects, logs.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "counter.h"
#include "record.h"
#include "tracee.h"

namespace cairn::crash {

struct Options {
  std::vector<std::string> argv;
  std::string log;                      // JSON lines, empty: none
  std::string record;                   // directory for a recording, empty: none
  std::string control;                  // control socket, empty: none
  std::string hook;                     // run with the tree stopped, before a kill
  std::vector<std::string> only_paths;  // count only calls below these
  std::vector<std::string> only_comms;  // count only threads of these names
  std::vector<std::string> spare_comms;
  Plan plan;
  bool armed = true;
  int cpu = -1;            // run everything on this processor, -1: anywhere
  sigset_t signal_mask{};  // what the program starts with; the tracer blocks more while starting
};

// How the run ended, told once. `final` is false while spared children go on being traced.
struct Outcome {
  int code = 0;
  bool final = true;
};

class Tracer {
 public:
  Tracer(const Options& options, Counter& counter, std::function<void(const Outcome&)> report);
  ~Tracer();
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // Starts the program stopped; its pid, or -1 (the reason is printed).
  pid_t start();
  // Returns when nothing traced is left.
  void run();

 private:
  struct Thread {
    pid_t tid = 0;
    pid_t group = 0;
    bool stopped = false;  // in a ptrace stop right now
    bool in_call = false;  // resumed towards the exit of `call`
    bool kill_after = false;
    bool grows = false;    // the call needs space that a full disk has not
    bool asks = false;     // the call sends a request that changes nothing
    bool changed = false;  // `saved` holds the registers to put back at the exit
    std::uint64_t number = 0;
    std::uint64_t restart_ip = 0;  // the call interrupted there will be entered again
    Call call;
    user_regs_struct saved{};
    std::string injected;
    RecordedCall recorded;
  };

  void on_stop(Thread& thread, int status);
  void on_call_entry(Thread& thread);
  void on_call_exit(Thread& thread);
  void inject(Thread& thread, const Decision& decision, user_regs_struct& registers);
  void fail_call(Thread& thread, user_regs_struct& registers, int error);
  void shorten_call(Thread& thread, user_regs_struct& registers);
  void kill_tree(const Thread& cause);
  void run_hook(const Thread& cause);
  void stop_others(const Thread& cause);
  void on_gone(pid_t tid, int status);
  bool is_counted(const Thread& thread) const;
  bool is_spared(const Thread& thread) const;
  bool only_spared_left() const;
  void resume(Thread& thread, int request, int signal);
  void log_call(const Thread& thread, const std::int64_t* result);
  void finish_log();

  const Options& options_;
  Counter& counter_;
  std::function<void(const Outcome&)> report_;
  std::unique_ptr<Recorder> recorder_;
  std::map<pid_t, Thread> threads_;
  pid_t root_ = 0;
  pid_t root_session_ = 0;
  int log_fd_ = -1;
  int exit_code_ = 125;
  bool root_gone_ = false;
  bool killing_ = false;
  bool reported_ = false;
};

}  // namespace cairn::crash
