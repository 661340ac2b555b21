// What a release's containers were made of, as it is stored in the release's row. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "workload/config.h"

namespace cairn::workload {

// A container that a stop-first deploy stops, as it was before: durable before it is touched.
struct TakenOver {
  std::string container_name;
  std::string restart_policy;
  int restart_retries_max = 0;
  bool operator==(const TakenOver&) const = default;
};

struct ReleaseConfig {
  ImageConfig
      config;  // effective: stop_timeout is set; without volumes and env (rows of their own)
  bool image_has_healthcheck = false;
  std::string network;
  // VOLUMEs of the image that nothing declares and that were allowed to be anonymous, sorted.
  std::vector<std::string> allow_anonymous;
  std::vector<TakenOver> takes_over;  // only while it deploys
  bool operator==(const ReleaseConfig&) const = default;
};

std::string release_config_to_json(const ReleaseConfig& config);
// kCorrupt for anything that release_config_to_json did not write.
Result<ReleaseConfig> release_config_from_json(const std::string& stored);

}  // namespace cairn::workload
