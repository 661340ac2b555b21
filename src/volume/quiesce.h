// quiesce: stopping containers as an obligation: what was is remembered durably by the caller
// before the first call here, and put back on every way out, restart policies last.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <vector>

#include "volume/core.h"

namespace cairn::volume {

nlohmann::json to_json(const std::vector<ContainerState>& containers);
Result<std::vector<ContainerState>> parse_containers(const nlohmann::json& json);

// The state of a container of somebody else, by name or id. kNotFound.
Result<ContainerState> observe(docker::Engine& engine, const std::string& name, int stop_grace_s);

// Sets each policy to "no" (an engine restart would start them on half-exchanged volumes), then
// stops each. Containers that are gone are fine. On failure some are stopped: go back.
Status stop_all(docker::Engine& engine,
                const std::vector<ContainerState>& containers,
                HoldClock& clock);

// Repeats a pause while a process waits for a busy disk and cannot be frozen
// (docker::cannot_freeze_yet), a few times and about a second each; kConflict, which
// cannot_freeze_yet still knows, when it stays so. Other failures are returned at once.
Status while_unfreezable(const std::function<Status()>& pause);

// Puts restart policies back; what was paused before us and runs now is paused again. Containers
// that are gone are fine.
Status put_back(docker::Engine& engine, const std::vector<ContainerState>& containers);

// Starts containers of somebody else that ran. Containers that are gone are fine.
Status start_others(docker::Engine& engine,
                    const std::vector<ContainerState>& containers,
                    HoldClock& clock);

// Repeats an idempotent step while the engine does not answer, until stop is asked for: inside a
// hold the engine is waited for. Other failures are returned at once.
Status while_engine_is_down(const std::stop_token& stop, const std::function<Status()>& step);

}  // namespace cairn::volume
