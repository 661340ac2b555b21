// Manifests: what parses names between one and kVolumesMax volumes, each index and target once and
// in range, whatever else is in the text.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/check.h"
#include "volume/declared.h"
#include "volume/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cairn::volume;
  const auto manifest = parse_manifest(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!manifest.ok()) return 0;
  CHECK(!manifest->volumes.empty() && manifest->volumes.size() <= kVolumesMax);
  std::set<std::string> targets;
  int last = -1;
  for (const ManifestVolume& volume : manifest->volumes) {
    CHECK(volume.index > last && volume.index < static_cast<int>(kVolumesMax));
    last = volume.index;
    CHECK(is_target(volume.target) && targets.insert(volume.target).second);
  }
  return 0;
}
