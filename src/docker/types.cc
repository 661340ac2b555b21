#include "docker/types.h"

namespace cairn::docker {

const char* state_name(State state) {
  switch (state) {
    case State::kCreated:
      return "created";
    case State::kRunning:
      return "running";
    case State::kPaused:
      return "paused";
    case State::kRestarting:
      return "restarting";
    case State::kExited:
      return "exited";
    case State::kDead:
      return "dead";
    case State::kRemoving:
      return "removing";
  }
  return "";
}

const char* health_name(Health health) {
  switch (health) {
    case Health::kNone:
      return "none";
    case Health::kStarting:
      return "starting";
    case Health::kHealthy:
      return "healthy";
    case Health::kUnhealthy:
      return "unhealthy";
  }
  return "";
}

}  // namespace cairn::docker
