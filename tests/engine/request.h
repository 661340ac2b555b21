// The messages between the fake engine and its spawner: one JSON object each. Pure functions.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cairn::spawner {

struct Program {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string cwd;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct Mount {
  std::string type;
  std::string source;
  std::string target;
  bool read_only = false;
};

// What a container sees: an overlay with its mounts, under a name of its own.
struct Root {
  std::string lower;
  std::string upper;
  std::string work;
  std::string merged;
  std::vector<Mount> mounts;
  std::uint64_t shm_bytes = 0;
  std::string hostname;
};

struct RunRequest {
  std::string key;
  std::string directory;
  std::string log;
  std::string pid_file;
  std::string cgroup;
  Root root;
  Program program;
};

struct ExecRequest {
  std::string key;
  pid_t container = 0;
  std::string cgroup;
  Program program;
};

struct Request {
  std::uint64_t seq = 0;
  std::variant<RunRequest, ExecRequest> what;
};

struct Started {
  pid_t pid = 0;
};

// A lookup fails by the container's configuration (its program is not there), the rest by the
// system.
enum class FailureKind : std::uint8_t { kLookup, kSystem };

struct Failure {
  FailureKind kind = FailureKind::kSystem;
  std::string error;
};

using Answer = std::variant<Started, Failure>;

struct Exit {
  std::string key;
  pid_t pid = 0;
  int code = 0;
};

// Ends the program on what the engine does not send: nothing could be answered to it.
Request parse_request(std::string_view text);
std::string answer_text(std::uint64_t seq, const Answer& answer);
std::string exit_text(const Exit& exit);

}  // namespace cairn::spawner
