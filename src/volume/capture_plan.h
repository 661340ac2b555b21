// What of a workload can be captured, what is skipped and why. Changes nothing.
#pragma once

#include <vector>

#include "volume/core.h"

namespace cairn::volume {

// One volume's root, open for reading.
struct CaptureRoot {
  int index = 0;
  ResolvedVolume volume;
  os::Dir dir;
  bool is_mount = false;  // what stays_at_mount() is not part of the data
};

struct CapturePlan {
  std::vector<CaptureRoot> roots;  // in byte order of target
  std::vector<catalog::SkippedVolume> skipped;
};

// Reads the current config, the catalog and the file system.
Result<CapturePlan> plan_capture(Core& core, const catalog::Workload& workload);

}  // namespace cairn::volume
