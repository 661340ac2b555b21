// The manifest of a snapshot or an archive (docs/formats.md), read as what it is: foreign text. It
// says which volume was where; where a volume goes is decided by the current config alone.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::volume {

inline constexpr int kManifestVersion = 1;
inline constexpr std::size_t kManifestBytesMax = std::size_t{1} << 20U;

struct ManifestVolume {
  int index = 0;  // 0 to kVolumesMax - 1, each once
  std::string target;
  bool operator==(const ManifestVolume&) const = default;
};

struct Manifest {
  std::vector<ManifestVolume> volumes;  // at least one, by index; each target once
  bool operator==(const Manifest&) const = default;
};

// kInvalid for anything that is not a manifest of a known version: no JSON object, a key given
// twice, an index that is no number or out of range or given twice, a target that no volume may
// have. Scope and source must be text where they are given, and are dropped: nothing is decided by
// them. Other keys are for other readers.
Result<Manifest> parse_manifest(std::string_view json);

}  // namespace cairn::volume
