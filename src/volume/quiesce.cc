#include "volume/quiesce.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "os/fault.h"
#include "parallel/sleep.h"

namespace cairn::volume {

namespace {

constexpr std::int64_t kEngineRetryMs = 500;
// Where a process waits for a busy disk.
constexpr int kPauseTriesMax = 5;
constexpr std::int64_t kPauseRetryMs = 200;

// Not found means gone, which is as stopped as it gets.
Status unless_gone(Status status) {
  if (!status.ok() && status.error().code() == Code::kNotFound) return {};
  return status;
}

}  // namespace

nlohmann::json to_json(const std::vector<ContainerState>& containers) {
  nlohmann::json out = nlohmann::json::array();
  for (const ContainerState& one : containers) {
    out.push_back({{"id", one.id},
                   {"name", one.name},
                   {"running", one.running},
                   {"paused", one.paused},
                   {"restart_policy", one.restart_policy},
                   {"restart_retries_max", one.restart_retries_max},
                   {"stop_grace_s", one.stop_grace_s}});
  }
  return out;
}

Result<std::vector<ContainerState>> parse_containers(const nlohmann::json& json) {
  const Error bad(Code::kCorrupt, "a record of stopped containers is damaged");
  if (!json.is_array()) return bad;
  std::vector<ContainerState> out;
  for (const nlohmann::json& item : json) {
    if (!item.is_object()) return bad;
    for (const char* key : {"id", "name", "restart_policy"}) {
      if (!item.contains(key) || !item[key].is_string()) return bad;
    }
    for (const char* key : {"running", "paused"}) {
      if (!item.contains(key) || !item[key].is_boolean()) return bad;
    }
    for (const char* key : {"restart_retries_max", "stop_grace_s"}) {
      if (!item.contains(key) || !item[key].is_number_integer()) return bad;
    }
    ContainerState one;
    one.id = item["id"];
    one.name = item["name"];
    one.running = item["running"];
    one.paused = item["paused"];
    one.restart_policy = item["restart_policy"];
    one.restart_retries_max = item["restart_retries_max"];
    one.stop_grace_s = item["stop_grace_s"];
    if (one.id.empty()) return bad;
    out.push_back(std::move(one));
  }
  return out;
}

Result<ContainerState> observe(docker::Engine& engine, const std::string& name, int stop_grace_s) {
  TRY_ASSIGN(const docker::Container found, docker::get_container(engine, name));
  return ContainerState{.id = found.id,
                        .name = found.name,
                        .running = found.running || found.restarting,
                        .paused = found.paused,
                        .restart_policy = found.restart_policy,
                        .restart_retries_max = found.restart_retries_max,
                        .stop_grace_s = found.stop_timeout_s.value_or(stop_grace_s)};
}

Status stop_all(docker::Engine& engine,
                const std::vector<ContainerState>& containers,
                HoldClock& clock) {
  if (!os::seeded(os::Bug::kPolicyNotSetNo)) {
    for (const ContainerState& one : containers) {
      TRY_CONTEXT(
          unless_gone(clock.engine([&] { return engine.set_restart_policy(one.id, "no", 0); })),
          "set the restart policy of " + one.name);
    }
  }
  for (const ContainerState& one : containers) {
    if (one.paused) {
      // A frozen process cannot take its stop signal. It may run already: then there is a conflict.
      const Status thawed = clock.engine([&] { return engine.unpause(one.id); });
      if (!thawed.ok() && thawed.error().code() == Code::kUnavailable) return thawed;
    }
    clock.begin();
    TRY_CONTEXT(unless_gone(clock.engine([&] { return engine.stop(one.id, one.stop_grace_s); })),
                "stop " + one.name);
  }
  return {};
}

Status while_unfreezable(const std::function<Status()>& pause) {
  for (int tries = 1;; ++tries) {
    Status status = pause();
    if (status.ok() || !docker::cannot_freeze_yet(status.error())) return status;
    if (tries == kPauseTriesMax) {
      return Error(Code::kConflict, status.error().message() + " (" + std::to_string(tries) +
                                        " times): its processes wait for the disk, so they cannot "
                                        "be frozen");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseRetryMs));
  }
}

Status put_back(docker::Engine& engine, const std::vector<ContainerState>& containers) {
  for (const ContainerState& one : containers) {
    if (one.paused) {
      TRY_ASSIGN(const std::optional<docker::Container> now, engine.find_container(one.id));
      if (now && now->running && !now->paused) {
        TRY_CONTEXT(while_unfreezable([&] { return unless_gone(engine.pause(one.id)); }),
                    "pause " + one.name + " again");
      }
    }
    if (os::seeded(os::Bug::kPolicyLeftNo)) continue;
    TRY_CONTEXT(
        unless_gone(engine.set_restart_policy(one.id, one.restart_policy, one.restart_retries_max)),
        "put back the restart policy of " + one.name);
  }
  return {};
}

Status start_others(docker::Engine& engine,
                    const std::vector<ContainerState>& containers,
                    HoldClock& clock) {
  for (const ContainerState& one : containers) {
    if (!one.running) continue;
    TRY_CONTEXT(unless_gone(clock.engine([&] { return engine.start(one.id); })),
                "start " + one.name);
  }
  return {};
}

Status while_engine_is_down(const std::stop_token& stop, const std::function<Status()>& step) {
  while (true) {
    Status status = step();
    if (status.ok() || status.error().code() != Code::kUnavailable || stop.stop_requested()) {
      return status;
    }
    log::warn("the engine does not answer, trying again: {}", status.error().message());
    parallel::sleep_unless_stopped(stop, std::chrono::milliseconds(kEngineRetryMs));
  }
}

}  // namespace cairn::volume
