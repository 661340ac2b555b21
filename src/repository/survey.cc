// What a pass would do, for plans.
#include "base/clock.h"
#include "repository/capture_session.h"
#include "repository/scan.h"

namespace cairn::repository {

namespace {

constexpr std::int64_t kWrittenLatelyS = 2;

struct Survey final : public ScanVisitor {
  explicit Survey(std::int64_t lately_s) : lately_since_s(lately_s) {}
  Status enter(const std::shared_ptr<ScanDir>& dir) override {
    for (const ScannedEntry& entry : dir->entries) {
      if (entry.fact.node.type != NodeType::kFile || entry.unchanged) continue;
      count(result.pass, entry.fact);
      if (entry.fact.node.ctime.seconds >= lately_since_s) count(result.lately, entry.fact);
    }
    return {};
  }
  Status leave(const std::shared_ptr<ScanDir>& /*dir*/) override { return {}; }

  static void count(PassResult& pass, const Fact& fact) {
    ++pass.files_read;
    pass.bytes_read += fact.stat_bytes;
  }

  const std::int64_t lately_since_s;  // a wall clock
  SurveyResult result;
};

}  // namespace

Result<SurveyResult> survey(const std::vector<ArchiveRoot>& roots, const FactsFile* known) {
  const Timespec since = wall_now();
  Survey survey(since.seconds - kWrittenLatelyS);
  const Stopwatch watch;
  for (const ArchiveRoot& given : roots) {
    TRY_ASSIGN(ScanRoot root, ScanRoot::open(given));
    TRY(walk_tree(root, known, KnownFrom::kBefore, since, survey));
    survey.result.pass.entries += root.entries;
  }
  survey.result.pass.walk_us = watch.elapsed_us();
  return survey.result;
}

}  // namespace cairn::repository
