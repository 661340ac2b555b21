// named: volumes that the engine keeps (scopes named and project_named): what Cairn can do with one
// and where its data lies. Source: the Docker Engine API's Volume record.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "catalog/places.h"
#include "docker/engine.h"
#include "volume/resolve.h"

namespace cairn::volume {

// Fills in where the data of volume.name lies: `_data` of a volume of driver "local" without
// options, the device's path of one with type=none,o=bind. Any other gets the obstacle
// "unsupported_driver". Empty where the engine has no such volume yet. An engine that does not
// answer is an obstacle too: its volumes cannot be looked at, everything else can.
Status locate_volume(docker::Engine& engine, ResolvedVolume& volume);

// The directories in which staged trees of a place may lie: that which holds its root, and the root
// where it is a mount point. None for a tmpfs and for a volume that the engine does not have or
// cannot tell of.
std::vector<std::string> staging_homes(docker::Engine& engine, const catalog::Place& place);

}  // namespace cairn::volume
