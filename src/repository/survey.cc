// What a pass would do, for plans.
#include "base/clock.h"
#include "repository/capture_session.h"
#include "repository/scan.h"

namespace cairn::repository {

namespace {

struct Survey final : public ScanVisitor {
  Status enter(const std::shared_ptr<ScanDir>& dir) override {
    for (const ScannedEntry& entry : dir->entries) {
      if (entry.fact.node.type != NodeType::kFile || entry.unchanged) continue;
      ++result.files_read;
      result.bytes_read += entry.fact.stat_bytes;
    }
    return {};
  }
  Status leave(const std::shared_ptr<ScanDir>& /*dir*/) override { return {}; }

  PassResult result;
};

}  // namespace

Result<PassResult> survey(const std::vector<ArchiveRoot>& roots, const FactsFile* known) {
  Survey survey;
  const Timespec since = wall_now();
  const Stopwatch watch;
  for (const ArchiveRoot& given : roots) {
    TRY_ASSIGN(ScanRoot root, ScanRoot::open(given));
    TRY(walk_tree(root, known, KnownFrom::kBefore, since, survey));
    survey.result.entries += root.entries;
  }
  survey.result.walk_us = watch.elapsed_us();
  return survey.result;
}

}  // namespace cairn::repository
