// The definition of a workload of kind "image": parsed from JSON or TOML text, checked in full.
// Values only; pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "volume/declared.h"

namespace cairn::workload {

// A public address of the workload; disabled where both names are empty.
struct Face {
  std::string subdomain;
  std::string domain;
  int target_port = 0;     // 0: the workload's port
  int access_list_id = 0;  // 0: none
  bool operator==(const Face&) const = default;
};

// "127.0.0.1:5432:5432", "8080:80", "8080:80/udp".
struct Publish {
  std::string host_ip;  // empty: every address
  std::uint16_t host_port = 0;
  std::uint16_t container_port = 0;
  std::string protocol = "tcp";  // tcp or udp
  bool operator==(const Publish&) const = default;
};

enum class HealthKind {
  kDefault,  // empty: the image's HEALTHCHECK where it has one, else kSettleMs without a restart
  kHttp,     // "/path": GET on port answers 200 to 399
  kTcp,      // "tcp": port takes a connection
  kExec,     // "exec:CMD": /bin/sh -c CMD in the container exits with 0
  kImage,    // "image": the image's HEALTHCHECK
};
enum class Handover { kAuto, kOverlap, kStopFirst };
enum class Pull { kAlways, kMissing, kNever };

std::string_view handover_name(Handover handover);
std::string_view pull_name(Pull pull);

struct ImageConfig {
  std::string image;          // repository without a tag: "registry.example.com/owner/app"
  std::string registry_name;  // of a registry with a login (workload/registry.h); may be empty
  std::string default_tag;    // a tag or "sha256:<64 hex>"; empty: "latest"
  std::uint16_t port = 0;     // primary port, 0: none
  std::string healthcheck;    // as written; health_kind() says what it means
  std::map<std::string, std::string> env;  // secrets: never logged, masked where shown
  std::vector<volume::DeclaredVolume> volumes;
  double cpu_limit = 0;           // cores, 0: no limit
  std::int64_t memory_limit = 0;  // MiB, 0: no limit
  int max_instances = 1;
  std::vector<std::string> command;     // empty: the image's
  std::vector<std::string> entrypoint;  // empty: the image's
  std::string user;
  std::vector<Publish> publish;
  std::int64_t shm_size = 0;        // MiB, 0: the engine's default
  std::optional<int> stop_timeout;  // seconds; unset: the setting stop_grace_s
  std::string stop_signal;          // empty: the image's
  Handover handover = Handover::kAuto;
  Pull pull = Pull::kMissing;
  bool operator==(const ImageConfig&) const = default;
};

HealthKind health_kind(const ImageConfig& config);

struct Definition {
  std::string name;
  std::string kind = "image";
  std::vector<Face> public_faces;
  ImageConfig config;
  bool operator==(const Definition&) const = default;
};

enum class TextFormat { kJson, kToml };

// Parses a whole definition. Every fault is found: kInvalid with one Reason a fault, whose target
// is the field path ("config.volumes[1].scope"). No message repeats an env value.
Result<Definition> parse_definition(std::string_view text, TextFormat format);

// The stored form of a config: every key, defaults filled in, sorted, without env (sealed apart).
std::string config_to_json(const ImageConfig& config);
// Reads what config_to_json wrote; kCorrupt otherwise. env stays empty.
Result<ImageConfig> config_from_json(const std::string& stored);
std::string faces_to_json(const std::vector<Face>& faces);
Result<std::vector<Face>> faces_from_json(const std::string& stored);
// Volumes as stored with a release, in byte order of target.
std::string volumes_to_json(const std::vector<volume::DeclaredVolume>& volumes);

// What an env value is shown as. A definition that comes back with it keeps the stored value.
inline constexpr std::string_view kMaskedValue = "***";
// The config as people see it: with env, each value masked.
nlohmann::json show_config(const ImageConfig& config);

// kOverlap or kStopFirst for these effective volumes. Stop-first where a writable volume other than
// ephemeral and instance is declared or a host port is published.
Handover effective_handover(const ImageConfig& config,
                            const std::vector<volume::DeclaredVolume>& volumes);
// A Reason where the handover is stop-first and max_instances above 1.
std::optional<Reason> check_handover(const ImageConfig& config,
                                     const std::vector<volume::DeclaredVolume>& volumes);

}  // namespace cairn::workload
