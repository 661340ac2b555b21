// What captures remember of a workload's volumes, in DATA/facts: a saving, never a need. Nothing
// here is synced, and what is damaged or missing is as if nothing were known.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "repository/facts.h"
#include "volume/capture_plan.h"

namespace cairn::volume {

// DATA/facts, made where it is missing; also where captures keep their temporary files.
Result<os::Dir> open_facts_dir(const Core& core);
// What the last capture of the same volumes left.
std::optional<repository::FactsFile> load_facts(const Core& core,
                                                const os::Dir& dir,
                                                const std::string& workload_id,
                                                const std::vector<CaptureRoot>& roots);
void save_facts(const Core& core,
                const os::Dir& dir,
                const std::string& workload_id,
                const std::vector<CaptureRoot>& roots,
                repository::FactsFile facts);
// Removes what belongs to workloads that are gone.
void remove_stale_facts(Core& core);

}  // namespace cairn::volume
