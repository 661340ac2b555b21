// Registries that ask for a login: kept by name, named by workloads (config.registry_name), and
// turned into what a pull sends. Thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/registries.h"
#include "docker/types.h"
#include "workload/config.h"
#include "workload/core.h"

namespace cairn::workload {

// Every registry, without its password, with the workloads that name it.
Result<std::vector<RegistryView>> view_registries(const Core& core);
// kInvalid with every fault by field. No message repeats the password.
Status check_registry(const catalog::Registry& registry);
// Forgets a registry. kConflict with the workloads that name it, kNotFound.
Status remove_registry(const Core& core, const std::string& name);

// The registry that the config names; nothing where it names none. Where its image has no host it
// gets the registry's. kInvalid with a Reason by field where there is no such registry, or the
// image is on another host.
Result<std::optional<catalog::Registry>> use_registry(const Core& core, ImageConfig& config);

// What the engine sends along with a pull from it.
docker::RegistryAuth auth_of(const catalog::Registry& registry);

}  // namespace cairn::workload
