// Waiting until a container is healthy by its workload's rule. Thread-safe.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "docker/engine.h"
#include "workload/config.h"
#include "workload/limits.h"

namespace cairn::workload {

// How often and how long is looked; tests use shorter times.
struct Pace {
  std::int64_t interval_ms = kProbeIntervalMs;
  std::int64_t probe_timeout_ms = kProbeTimeoutMs;
  std::int64_t settle_ms = kSettleMs;
  std::int64_t recovery_retry_ms = kRecoveryRetryMs;
};

struct HealthRule {
  HealthKind kind = HealthKind::kDefault;  // kDefault: settle_ms without a restart
  std::string path;                        // of kHttp
  std::string command;                     // of kExec
  std::uint16_t port = 0;
  std::string network;  // where the container's address is looked up
};

// kDefault becomes kImage where the image has a HEALTHCHECK.
HealthRule health_rule(const ImageConfig& config,
                       bool image_has_healthcheck,
                       const std::string& network);

// Returns when the container is healthy. kUnhealthy after timeout_ms, or before it where waiting is
// pointless (the engine's own check failed, the container keeps restarting), with probe and
// log_tail. kUnavailable: the engine went away; kNotFound: the container did; kCancelled.
Status await_healthy(docker::Engine& engine,
                     const std::string& container_id,
                     const HealthRule& rule,
                     const Pace& pace,
                     std::int64_t timeout_ms,
                     std::stop_token stop);

}  // namespace cairn::workload
