// What Cairn knows of an engine's objects: plain values, copied and compared.
// Source: the Docker Engine API reference, versions 1.40 to 1.5x.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cairn::docker {

using Labels = std::map<std::string, std::string>;

struct Version {
  std::string api;      // the negotiated one: "1.41"
  std::string api_max;  // of the engine
  std::string api_min;
  std::string engine;  // "20.10.24"
  bool podman = false;
};

struct Info {
  std::string docker_root;  // where volumes and layers lie on the host
  std::string storage_driver;
  std::string cgroup_version;
  bool rootless = false;
  bool live_restore = false;
  // The host's ids of the containers' root where the engine maps users (userns-remap); 0 elsewhere.
  std::uint32_t userns_uid_base = 0;
  std::uint32_t userns_gid_base = 0;
};

struct RegistryAuth {
  std::string username;
  std::string password;
  std::string identity_token;  // instead of the two above
  std::string server_address;
};

struct Image {
  std::string id;                         // "sha256:..."
  std::vector<std::string> repo_tags;     // "localhost:5000/app:v1"
  std::vector<std::string> repo_digests;  // "localhost:5000/app@sha256:..."
  bool has_healthcheck = false;
  std::vector<std::string> volumes;          // VOLUME targets, sorted
  std::vector<std::uint16_t> exposed_ports;  // TCP, sorted
  std::string user;
  Labels labels;
  std::optional<std::int64_t> size_bytes;
};

struct Mount {
  enum class Kind { kBind, kVolume, kTmpfs };
  Kind kind = Kind::kBind;
  std::string source;  // host path, volume name, or empty for a tmpfs
  std::string target;
  bool read_only = false;
  bool no_copy = false;  // volumes: do not fill an empty one from the image
};

struct PortPublish {
  std::string host_ip;          // empty: all addresses
  std::uint16_t host_port = 0;  // 0: the engine chooses
  std::uint16_t container_port = 0;
  std::string protocol = "tcp";
  bool operator==(const PortPublish&) const = default;
};

struct HealthCheck {
  std::vector<std::string> test;  // {"CMD", ...}, {"CMD-SHELL", "..."} or {"NONE"}
  int interval_s = 0;             // 0: the engine's default
  int timeout_s = 0;
  int start_period_s = 0;
  int retries = 0;
};

struct ContainerSpec {
  std::string name;
  std::string image;  // an id or repository@digest: never a tag that can move
  std::vector<std::string> command;
  std::vector<std::string> entrypoint;
  std::vector<std::string> env;  // "K=V"
  Labels labels;
  std::string user;
  std::string working_dir;
  std::vector<Mount> mounts;
  std::vector<PortPublish> publishes;
  std::string network;  // empty: the engine's default; "none"
  std::vector<std::string> aliases;
  std::int64_t nano_cpus = 0;  // 0: no limit, as for the next two
  std::int64_t memory_bytes = 0;
  std::int64_t shm_bytes = 0;
  std::string stop_signal;
  std::optional<int> stop_timeout_s;
  std::string restart_policy = "no";
  int restart_retries_max = 0;  // of "on-failure"
  std::optional<HealthCheck> health_check;
};

enum class State { kCreated, kRunning, kPaused, kRestarting, kExited, kDead, kRemoving };
enum class Health { kNone, kStarting, kHealthy, kUnhealthy };

// The engine's word: "running", ...
const char* state_name(State state);
const char* health_name(Health health);

struct HealthProbe {
  int exit_code = 0;
  std::string output;
  std::int64_t ended_ms = 0;
};

// A command in a running container; health probes are such commands, too.
struct Exec {
  bool running = false;          // from the moment on in which its start begins
  std::int64_t pid = 0;          // on the host; 0 until it was started
  std::optional<int> exit_code;  // once it ended, or could not be started
};

struct ContainerMount {
  Mount::Kind kind = Mount::Kind::kBind;
  std::string name;    // of a volume
  std::string source;  // on the host
  std::string destination;
  bool read_write = true;
};

struct Container {
  std::string id;
  std::string name;       // without the leading slash
  std::string image_id;   // "sha256:..."
  std::string image_ref;  // as it was asked for
  State state = State::kCreated;
  bool running = false;  // as the engine says: also true while paused
  bool paused = false;
  bool restarting = false;
  bool oom_killed = false;
  int exit_code = 0;
  int restart_count = 0;
  std::int64_t pid = 0;          // on the host; 0 where it does not run
  std::int64_t started_ms = 0;   // 0: never
  std::int64_t finished_ms = 0;  // 0: never
  std::string error;             // why the last start failed
  Health health = Health::kNone;
  std::vector<HealthProbe> health_log;  // oldest first
  std::int64_t health_interval_ms = 0;  // from the end of a probe to the next; 0: none are made
  std::vector<std::string> exec_ids;    // commands in it that have not ended
  Labels labels;
  std::vector<std::string> env;
  std::string restart_policy;  // "no", "on-failure", "unless-stopped", "always"
  int restart_retries_max = 0;
  std::vector<ContainerMount> mounts;
  std::map<std::string, std::string> ip_addresses;  // network -> address, only non-empty ones
  std::vector<PortPublish> ports;                   // published, while it runs
  std::optional<int> stop_timeout_s;
  std::string stop_signal;
  bool tty = false;
};

// What a list tells; find_container() tells the rest.
struct ContainerSummary {
  std::string id;
  std::string name;
  std::string image_id;
  std::string image_ref;
  State state = State::kCreated;
  Labels labels;
  std::vector<ContainerMount> mounts;
  std::int64_t created_ms = 0;
};

struct ContainerFilter {
  std::vector<std::string> labels;  // "key" or "key=value", all must match
  std::string volume;               // mounts this volume name; empty: any
  bool running_only = false;
};

struct Volume {
  std::string name;
  std::string driver;
  std::string mountpoint;
  std::map<std::string, std::string> options;
  Labels labels;
};

struct LogOptions {
  std::optional<std::uint32_t> tail;  // last lines; nothing: all
  bool follow = false;
  bool timestamps = false;
  std::int64_t since_ms = 0;  // wall clock; 0: from the first
};

enum class Stream { kOut, kErr };

struct ExecOptions {
  int timeout_ms = 10'000;
  std::size_t output_bytes_max = 64 * 1024;
};

struct ExecResult {
  int exit_code = 0;
  bool timed_out = false;  // exit_code says nothing then; the process may still run
  bool truncated = false;  // more output than asked for
  std::string output;      // both streams, in the order they came
};

}  // namespace cairn::docker
