// What the handlers work with. Built by the daemon's composition root; everything in it outlives
// the server and is thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace cairn::catalog {
class Catalog;
class Operations;
}  // namespace cairn::catalog
namespace cairn::docker {
class Engine;
}
namespace cairn::volume {
class Service;
}
namespace cairn::workload {
class Workloads;
}

namespace cairn::api {

// What opens the data if everything else is lost. Secret.
struct RecoveryKit {
  std::string repository;  // what restic's -r takes
  std::string password;
  std::string sealing_key;  // hex
};

struct DaemonInfo {
  std::string version;
  std::string data_dir;
  std::string socket_path;
  std::string engine_socket_path;
  std::string repository_id;
  std::int64_t started_ms = 0;
};

// Answers by the class of their status, since the start: by_class[4] counts 4xx. A call that waits
// is counted when it begins to.
struct AnswerCounts {
  std::array<std::atomic<std::uint64_t>, 6> by_class{};
};

struct Services {
  catalog::Catalog& catalog;
  catalog::Operations& operations;
  docker::Engine& engine;
  volume::Service& volumes;
  workload::Workloads& workloads;
  RecoveryKit kit;
  DaemonInfo info;
  AnswerCounts answers = {};
};

}  // namespace cairn::api
