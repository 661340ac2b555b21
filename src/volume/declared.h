// Declared volumes: what a workload's config and the persisted rows say, parsed and merged.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/volumes.h"

namespace cairn::volume {

// How a volume's place is found. One constant names those that capture and restore know.
enum class Scope { kAbsolute, kStage, kProject, kInstance, kNamed, kProjectNamed, kEphemeral };

std::string_view scope_name(Scope scope);
Result<Scope> parse_scope(std::string_view text);
// Whether capture and restore know it: all but ephemeral.
bool is_capturable(Scope scope);

// One volume of a workload, keyed by its container path.
struct DeclaredVolume {
  std::string target;  // absolute container path, normalised, never "/"
  Scope scope = Scope::kStage;
  std::string source;  // a relative path beneath the scope's base, or absolute for kAbsolute
  std::string name;    // for named scopes
  bool operator==(const DeclaredVolume&) const = default;
};

inline constexpr std::size_t kVolumesMax = 64;
inline constexpr std::size_t kTargetBytesMax = 1024;

// The "volumes" array of an image config. Every fault is one Reason whose target is the field path
// ("config.volumes[1].scope"); unknown keys, unknown scopes, bad targets, duplicates are faults.
std::vector<DeclaredVolume> parse_volumes(const nlohmann::json& array,
                                          const std::string& field,
                                          std::vector<Reason>& faults);
// One volume given as a persisted row (cairn volume set): the same checks.
Result<DeclaredVolume> check_volume(const catalog::VolumeRow& row);

// True where a volume may have this target.
bool is_target(std::string_view path);

// Inline volumes overlaid by persisted rows, which win on the same target; in byte order of target.
std::vector<DeclaredVolume> merge_volumes(const std::vector<DeclaredVolume>& inline_volumes,
                                          const std::vector<DeclaredVolume>& persisted);

}  // namespace cairn::volume
