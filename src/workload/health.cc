#include "workload/health.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "os/socket.h"
#include "workload/probe.h"

namespace cairn::workload {
namespace {

// Shorter than the 100 ms that the engine waits at least before it starts a container again.
constexpr int kExitPollMs = 20;

// So many restarts while its health is awaited: it will not get better by waiting.
constexpr int kRestartsMax = 5;
constexpr std::size_t kExecPrefixBytes = 5;  // "exec:"
constexpr int kHttpOkMin = 200;
constexpr int kHttpOkMax = 399;

struct Look {
  enum class Verdict { kHealthy, kNotYet, kHopeless } verdict = Verdict::kNotYet;
  std::string probe;  // what the last probe said
};

bool runs(const docker::Container& container) {
  return container.running && !container.restarting;
}

std::string exit_text(const docker::Container& container) {
  std::string text = fmt::format("the container exited with code {}", container.exit_code);
  if (container.oom_killed) text += " (killed for its memory limit)";
  if (!container.error.empty()) text += ": " + printable(container.error);
  return text;
}

Result<Look> look_http(const docker::Container& container,
                       const HealthRule& rule,
                       const Pace& pace,
                       std::stop_token stop) {
  const auto address = container.ip_addresses.find(rule.network);
  if (address == container.ip_addresses.end()) {
    return Look{.probe = "the container has no address on network " + rule.network};
  }
  const ProbeTarget target{.address = address->second, .port = rule.port};
  if (rule.kind == HealthKind::kTcp) {
    const Status connected = probe_tcp(target, pace.probe_timeout_ms, std::move(stop));
    if (connected.ok()) return Look{.verdict = Look::Verdict::kHealthy, .probe = "connected"};
    if (connected.error().code() == Code::kCancelled) return connected.error();
    return Look{.probe = connected.error().message()};
  }
  const auto status = probe_http(target, rule.path, pace.probe_timeout_ms, std::move(stop));
  if (!status.ok()) {
    if (status.error().code() == Code::kCancelled) return status.error();
    return Look{.probe = "GET " + rule.path + ": " + status.error().message()};
  }
  Look look{.probe = fmt::format("GET {}: {}", rule.path, *status)};
  if (*status >= kHttpOkMin && *status <= kHttpOkMax) look.verdict = Look::Verdict::kHealthy;
  return look;
}

Result<Look> look_exec(docker::Engine& engine,
                       const docker::Container& container,
                       const HealthRule& rule,
                       const Pace& pace) {
  const docker::ExecOptions options{.timeout_ms = static_cast<int>(pace.probe_timeout_ms),
                                    .output_bytes_max = kExecOutputBytesMax};
  const auto ran = engine.exec(container.id, {"/bin/sh", "-c", rule.command}, options);
  if (!ran.ok()) {
    if (ran.error().code() == Code::kUnavailable) return ran.error();
    return Look{.probe = "exec: " + ran.error().message()};
  }
  if (ran->timed_out) {
    return Look{.probe = fmt::format("exec: no end within {} ms", pace.probe_timeout_ms)};
  }
  Look look{.probe = fmt::format("exec: exit code {}", ran->exit_code)};
  if (ran->exit_code == 0) look.verdict = Look::Verdict::kHealthy;
  const std::string output = printable(trim(ran->output), kExecOutputBytesMax);
  if (!output.empty()) look.probe += ": " + output;
  return look;
}

Look look_image(const docker::Container& container) {
  Look look{.probe = fmt::format("image health check: {}", docker::health_name(container.health))};
  if (!container.health_log.empty()) {
    const docker::HealthProbe& last = container.health_log.back();
    look.probe += fmt::format(", exit code {}", last.exit_code);
    const std::string output = printable(trim(last.output), kExecOutputBytesMax);
    if (!output.empty()) look.probe += ": " + output;
  }
  switch (container.health) {
    case docker::Health::kHealthy:
      look.verdict = Look::Verdict::kHealthy;
      break;
    case docker::Health::kUnhealthy:
      look.verdict = Look::Verdict::kHopeless;  // the engine has retried already
      break;
    case docker::Health::kNone:
      look.verdict = Look::Verdict::kHopeless;
      look.probe = "the container has no health check of its image";
      break;
    case docker::Health::kStarting:
      break;
  }
  return look;
}

// The verdict on a container that runs now and has run since since_ms (monotonic).
Result<Look> look_running(docker::Engine& engine,
                          const docker::Container& container,
                          const HealthRule& rule,
                          const Pace& pace,
                          std::int64_t since_ms,
                          std::stop_token stop) {
  switch (rule.kind) {
    case HealthKind::kHttp:
    case HealthKind::kTcp:
      return look_http(container, rule, pace, std::move(stop));
    case HealthKind::kExec:
      return look_exec(engine, container, rule, pace);
    case HealthKind::kImage:
      return look_image(container);
    case HealthKind::kDefault:
      break;
  }
  const std::int64_t ran_ms = monotonic_ms() - since_ms;
  Look look{.probe = fmt::format("runs for {} ms", ran_ms)};
  if (ran_ms >= pace.settle_ms) look.verdict = Look::Verdict::kHealthy;
  return look;
}

// The last lines of the log, for the error; never fails.
std::vector<std::string> tail_of(docker::Engine& engine, const std::string& container_id) {
  auto lines = docker::log_tail(engine, container_id, kLogTailLines);
  if (!lines.ok()) return {"the log could not be read: " + lines.error().message()};
  for (std::string& line : *lines) line = printable(line, kLogTailBytesMax / kLogTailLines);
  return std::move(lines).value();
}

Error unhealthy(docker::Engine& engine,
                const std::string& container_id,
                std::string probe,
                std::string_view why) {
  ErrorDetail detail;
  detail.log_tail = tail_of(engine, container_id);
  std::string message = fmt::format("not healthy {}: {}", why, probe);
  detail.probe = std::move(probe);
  return {Code::kUnhealthy, std::move(message), std::move(detail)};
}

}  // namespace

HealthRule health_rule(const ImageConfig& config,
                       bool image_has_healthcheck,
                       const std::string& network) {
  HealthRule rule;
  rule.kind = health_kind(config);
  rule.port = config.port;
  rule.network = network;
  if (rule.kind == HealthKind::kDefault && image_has_healthcheck) rule.kind = HealthKind::kImage;
  if (rule.kind == HealthKind::kHttp) rule.path = config.healthcheck;
  if (rule.kind == HealthKind::kExec) {
    rule.command = config.healthcheck.substr(kExecPrefixBytes);
  }
  return rule;
}

Status await_healthy(docker::Engine& engine,
                     const std::string& container_id,
                     const HealthRule& rule,
                     const Pace& pace,
                     std::int64_t timeout_ms,
                     std::stop_token stop) {
  const std::int64_t begin_ms = monotonic_ms();
  std::int64_t runs_since_ms = begin_ms;
  std::optional<int> restarts_before;
  std::optional<std::int64_t> restarted_ms;  // when that was seen
  TRY_ASSIGN(const os::Patience patience, os::Patience::until(os::kNoDeadline, stop));
  while (true) {
    TRY_ASSIGN(const docker::Container container, docker::get_container(engine, container_id));
    if (!restarts_before.has_value()) restarts_before = container.restart_count;
    const int restarts = container.restart_count - *restarts_before;
    Look look;
    if (!runs(container)) {
      look.probe = exit_text(container);
      runs_since_ms = monotonic_ms();
    } else {
      TRY_ASSIGN(look, look_running(engine, container, rule, pace, runs_since_ms, stop));
    }
    // Without a check, one exit is the answer; with one, a container may need its dependencies.
    const bool gave_up = container.state == docker::State::kExited ||
                         container.state == docker::State::kDead || restarts >= kRestartsMax;
    const bool unsettled = rule.kind == HealthKind::kDefault && (restarts > 0 || !runs(container));
    // The engine forgets the code with the restart. What exits once mostly does so again soon.
    if (unsettled && runs(container)) {
      if (!restarted_ms.has_value()) restarted_ms = monotonic_ms();
      const std::int64_t waited_ms = monotonic_ms() - *restarted_ms;
      if (waited_ms < pace.settle_ms && monotonic_ms() - begin_ms < timeout_ms) {
        TRY(patience.nap(kExitPollMs));
        continue;
      }
      look.probe = "the container exited and was restarted";
    }
    if (unsettled || (gave_up && !runs(container))) {
      return unhealthy(engine, container_id, look.probe, "since it does not keep running");
    }
    if (look.verdict == Look::Verdict::kHealthy) return {};
    if (look.verdict == Look::Verdict::kHopeless) {
      return unhealthy(engine, container_id, look.probe, "by its image's check");
    }
    if (monotonic_ms() - begin_ms >= timeout_ms) {
      return unhealthy(engine, container_id, look.probe, fmt::format("after {} ms", timeout_ms));
    }
    TRY(patience.nap(static_cast<int>(pace.interval_ms)));
  }
}

}  // namespace cairn::workload
