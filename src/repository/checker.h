// Checker: holds a repository against itself.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "repository/repository.h"
#include "repository/snapshot.h"

namespace cairn::repository {

enum class ReadData { kNo, kYes };

struct CheckFinding {
  enum class Severity { kHint, kError };
  Severity severity = Severity::kError;
  std::string subject;  // "pack 1234abcd", "snapshot ...", "tree ..."
  std::string detail;
};

// Index files parse, every indexed pack is there with the right size, every tree that a snapshot
// reaches parses and all it names is in the index; with kYes every pack is read and every blob
// verified. Packs that nothing names are hints. The error is for a check that could not be done.
Result<std::vector<CheckFinding>> check(Repository& repository,
                                        ReadData read_data,
                                        Progress& progress,
                                        const std::stop_token& stop);

// Reads everything that one snapshot names and verifies it. Findings are errors only.
Result<std::vector<CheckFinding>> verify_snapshot(Repository& repository,
                                                  const Id& snapshot,
                                                  Progress& progress,
                                                  const std::stop_token& stop);

}  // namespace cairn::repository
