// cairn_tracer: runs an unmodified program tree under seccomp and ptrace, counts every call that
// changes state with one counter over all threads and children, and at a chosen call kills the
// tree, fails the call, cuts it short or fills the disk. See README.md for the options.
//
// Two processes: the front one is what the caller waits for; the back one traces. They part when
// spared children outlive the tree, because a seccomp filter that asks for a tracer never goes.

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "counter.h"
#include "loop.h"

namespace {

using cairn::crash::Counter;
using cairn::crash::Options;
using cairn::crash::Outcome;
using cairn::crash::Tracer;

volatile sig_atomic_t forward_to = 0;

void forward_signal(int signal) {
  if (forward_to > 0) kill(forward_to, signal);
}

void forward_signals_to(pid_t pid) {
  forward_to = pid;
  struct sigaction action{};
  action.sa_handler = forward_signal;
  action.sa_flags = SA_RESTART;
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaction(signal, &action, nullptr);
}

int usage(const char* problem) {
  std::fprintf(stderr,
               "cairn_tracer: %s\n"
               "usage: cairn_tracer [options] -- PROGRAM [ARGUMENT...]\n"
               "  --log FILE            one JSON line for each counted call, last line calls=N\n"
               "  --at N                act at the N-th counted call\n"
               "  --do WHAT             kill | short | error=ENOSPC|EIO|EROFS|EINTR\n"
               "  --after               kill after the call instead of before it\n"
               "  --errors-from N       from call N on, what needs space fails with ENOSPC\n"
               "  --hook COMMAND        run by sh with the tree stopped, before the kill\n"
               "  --only-path PREFIX    count (and record) only what lies below; repeatable\n"
               "  --only-tid-comm NAME  count only threads of that name; repeatable\n"
               "  --spare-comm NAME     do not kill children of that name in another session\n"
               "  --control SOCKET      count only while armed: arm, disarm, count, set ...\n"
               "  --armed               with --control: count from the start\n"
               "  --record DIR          record file changes below the prefixes\n"
               "  --cpu N               run the tracer and the tree on one processor (faster)\n",
               problem);
  return 2;
}

// A prefix as the kernel shows it; sockets are named by words such as "inet" or "@name".
std::string real_prefix(const std::string& text) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(text, error);
  return error || !text.starts_with('/') ? text : path.string();
}

// Returns an empty string, or what is wrong.
std::string parse_options(int argc, char** argv, Options& options) {
  int index = 1;
  for (; index < argc && std::strcmp(argv[index], "--") != 0; ++index) {
    const std::string name = argv[index];
    if (name == "--after") {
      options.plan.after = true;
      continue;
    }
    if (name == "--armed") {
      options.armed = true;
      continue;
    }
    if (index + 1 >= argc) return "missing value of " + name;
    const std::string value = argv[++index];
    if (name == "--log")
      options.log = value;
    else if (name == "--at")
      options.plan.at = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--errors-from")
      options.plan.full_from = std::strtoull(value.c_str(), nullptr, 10);
    else if (name == "--hook")
      options.hook = value;
    else if (name == "--only-path")
      options.only_paths.push_back(real_prefix(value));
    else if (name == "--only-tid-comm")
      options.only_comms.push_back(value);
    else if (name == "--spare-comm")
      options.spare_comms.push_back(value.substr(0, 15));
    else if (name == "--record")
      options.record = value;
    else if (name == "--cpu")
      options.cpu = std::atoi(value.c_str());
    else if (name == "--control") {
      options.control = value;
      options.armed = false;
    } else if (name != "--do")
      return "unknown option " + name;
    else if (!parse_action(value, options.plan))
      return "unknown action " + value;
  }
  for (++index; index < argc; ++index) options.argv.emplace_back(argv[index]);
  if (options.argv.empty()) return "no program given after --";
  if (!options.record.empty() && options.only_paths.empty()) return "--record needs --only-path";
  return {};
}

int trace_program(const Options& options, int status_pipe) {
  Counter counter(options.plan, options.armed);
  if (!options.control.empty()) {
    if (const int error = serve_control(options.control, counter); error != 0) {
      std::fprintf(stderr, "cairn_tracer: %s: %s\n", options.control.c_str(), std::strerror(error));
      return 125;
    }
  }
  if (options.cpu >= 0) {
    // Each stop is two switches between tracer and tracee; waking another, idle processor for
    // each takes several times as long as the switch.
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(options.cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) std::perror("cairn_tracer: --cpu");
  }
  Tracer tracer(options, counter, [status_pipe](const Outcome& outcome) {
    if (!outcome.final) {
      // Nobody waits any more: let the caller's pipes end, and outlive the front process.
      prctl(PR_SET_PDEATHSIG, 0);
      const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
      for (int fd = 0; fd <= 2; ++fd) dup2(null, fd);
    }
    if (write(status_pipe, &outcome, sizeof outcome) < 0) std::perror("cairn_tracer: status");
    close(status_pipe);
  });
  const pid_t root = tracer.start();
  if (root < 0) return 125;
  forward_signals_to(root);
  sigprocmask(SIG_SETMASK, &options.signal_mask, nullptr);
  tracer.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (const std::string problem = parse_options(argc, argv, options); !problem.empty()) {
    return usage(problem.c_str());
  }
  int status_pipe[2];
  if (pipe2(status_pipe, O_CLOEXEC) != 0) return 125;
  sigset_t forwarded;
  sigemptyset(&forwarded);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&forwarded, signal);
  sigprocmask(SIG_BLOCK, &forwarded, &options.signal_mask);

  const pid_t back = fork();
  if (back < 0) return 125;
  if (back == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(status_pipe[0]);
    _exit(trace_program(options, status_pipe[1]));
  }
  close(status_pipe[1]);
  forward_signals_to(back);
  sigprocmask(SIG_SETMASK, &options.signal_mask, nullptr);

  Outcome outcome;
  ssize_t got = 0;
  while ((got = read(status_pipe[0], &outcome, sizeof outcome)) < 0 && errno == EINTR) {
  }
  if (got != sizeof outcome) outcome = {.code = 125, .final = true};
  if (outcome.final) {
    while (waitpid(back, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return outcome.code;
}
