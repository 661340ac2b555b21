// What a deploy would do, decided without changing anything.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "workload/core.h"
#include "workload/image.h"
#include "workload/release_config.h"

namespace cairn::workload {

struct DeployPlan {
  catalog::Workload workload;
  ImageConfig config;                            // its image has a host where it names a registry
  std::optional<catalog::Registry> registry;     // that the config names; a secret is in it
  std::vector<volume::DeclaredVolume> declared;  // in effect, in byte order of target
  std::vector<volume::ResolvedVolume> resolved;  // all of them
  std::vector<std::string> keys;                 // what to lock
  Handover handover = Handover::kOverlap;        // never kAuto
  std::vector<std::string> allow_anonymous;      // as asked for, and as the last release had it
  catalog::Settings settings;
};

// Reads definition, volumes and settings. kRefused with every reason at once.
Result<DeployPlan> plan_deploy(const Core& core,
                               const std::string& id_or_name,
                               const DeployOptions& options);

// The release that the plan and the image make; its row is not stored. kRefused where the config
// asks for the image's health check and it has none, and for VOLUMEs of the image that the config
// does not declare and nobody allowed to be anonymous.
Result<catalog::Release> plan_release(const DeployPlan& plan, const FetchedImage& fetched);

// True where the new release would be what the current one is: image (by digest or id), effective
// config, env, volumes and faces.
bool is_same_release(const catalog::Release& planned, const catalog::Release& current);

}  // namespace cairn::workload
