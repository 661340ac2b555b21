// Containers of workloads: their names, labels and specs; making, finding and removing exactly
// those that a catalog row and the container's own labels both name. Thread-safe; the caller holds
// the workload's lock.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/instances.h"
#include "catalog/releases.h"
#include "catalog/workloads.h"
#include "docker/engine.h"
#include "workload/core.h"
#include "workload/release_config.h"

namespace cairn::workload {

inline constexpr std::string_view kLabelWorkloadId = "cairn.workload.id";
inline constexpr std::string_view kLabelWorkloadName = "cairn.workload.name";
inline constexpr std::string_view kLabelKind = "cairn.kind";
inline constexpr std::string_view kLabelRole = "cairn.role";
inline constexpr std::string_view kLabelRelease = "cairn.release";
inline constexpr std::string_view kLabelInstance = "cairn.instance";
// Never "always": that would start a container which was stopped on purpose.
inline constexpr std::string_view kRestartPolicy = "unless-stopped";

// "cairn-<name>-<id8>-<tag>-<hex ms>".
std::string container_name(const catalog::Workload& workload,
                           std::string_view tag,
                           std::int64_t at_ms);

// image: what the engine is asked for, an id or repository@digest. held_volumes: those of the
// engine that have been in use, which must not be filled from the image should they be empty.
docker::ContainerSpec container_spec(const catalog::Workload& workload,
                                     const catalog::Release& release,
                                     const ReleaseConfig& config,
                                     const std::string& image,
                                     const std::string& name,
                                     const std::set<std::string>& held_volumes);

// True where the container's labels name the row's workload and the row's name.
bool is_owned(const docker::Container& container, const catalog::Instance& row);

// The row's container; nothing where it is gone. kConflict where a container of that name or id is
// there but its labels do not name the row: it is somebody else's and never touched.
Result<std::optional<docker::Container>> find_owned(const Core& core, const catalog::Instance& row);

// The row of a container to be made for a release, with a name that no row has.
Result<catalog::Instance> plan_instance(const Core& core,
                                        const catalog::Workload& workload,
                                        const catalog::Release& release,
                                        const ReleaseConfig& config);

// Makes the container of a row that is stored already, and stores its id. kNotFound where the
// release's image is not there any more. A failure may leave a container of the row's name.
Status create_owned(const Core& core,
                    const catalog::Workload& workload,
                    const catalog::Release& release,
                    const ReleaseConfig& config,
                    catalog::Instance& row);

// Stops with the container's own signal and grace; thaws it first. What is gone or stopped is fine.
Status stop_owned(const Core& core, const docker::Container& container, int stop_grace_s);

enum class Ending {
  kGraceful,  // it served: its own stop signal and grace; its unnamed volumes stay
  kAtOnce,    // it never served: killed, with its unnamed volumes
};
// Removes the row's container where it is ours; the row stays. Returns when it is gone.
Status remove_container(const Core& core, const catalog::Instance& row, Ending ending);
// Removes the row's container, then the row. A container that is not ours stays; its row goes.
// Returns when the container is gone. On failure the row stays.
Status remove_owned(const Core& core, const catalog::Instance& row, Ending ending);

// True for what the engine is asked to keep running: a crash-looping container too.
bool is_up(const docker::Container& container);

}  // namespace cairn::workload
