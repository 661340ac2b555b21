// pause: containers are frozen for a cut, and a small process that outlives the daemon thaws them
// when the daemon goes away or max_hold passes.
#pragma once

#include <string>
#include <vector>

#include "docker/engine.h"
#include "os/process.h"
#include "volume/quiesce.h"

namespace cairn::volume {

// The watcher's side: `cairnd pause-watcher SOCKET MAX_HOLD_MS CONTAINER...`. Says "ready", then
// waits for "resume" on its standard input; thaws the containers when that comes, when its input
// ends, or when the time is over, and answers "resumed" or "expired". Returns the exit code.
int run_pause_watcher(const std::vector<std::string>& arguments);

// Waits, two seconds at most, until no command is being started in the containers and no health
// probe is due within the next moments: Docker thaws no container in which the start of one was
// frozen half-way before that command's own timeout (docs/engine-behaviour.md). What starts other
// commands, and probes after another thaw, cannot be foreseen: that is left to chance.
Status await_started_commands(docker::Engine& engine,
                              const std::vector<ContainerState>& containers);

// The daemon's side. One thread at a time.
class Pause {
 public:
  // Awaits what is being started, starts the watcher, then pauses each container. On failure all of
  // them run.
  static Result<Pause> begin(Core& core,
                             const std::vector<ContainerState>& containers,
                             std::int64_t max_hold_ms,
                             HoldClock& clock);
  // Thaws them. kConflict where one may have run before that (the hold lasted longer than max_hold,
  // somebody else thawed or stopped it, the engine or the watcher died): the capture must be thrown
  // away. The containers run then, too.
  Status end(HoldClock& clock);

 private:
  // Thaws without asking whether all were frozen until now. Returns as end() does.
  Status resume(HoldClock& clock);

  Pause(Core& core, std::vector<ContainerState> containers, os::Child watcher)
      : core_(&core), containers_(std::move(containers)), watcher_(std::move(watcher)) {}
  Core* core_;
  std::vector<ContainerState> containers_;
  std::optional<os::Child> watcher_;
};

// Thaws containers that are paused; ones that are gone or run are fine.
Status unpause_all(docker::Engine& engine, const std::vector<ContainerState>& containers);

}  // namespace cairn::volume
