// What a pass would do, for plans.
#include "base/clock.h"
#include "base/strings.h"
#include "repository/capture_session.h"
#include "repository/limits.h"
#include "repository/scan.h"

namespace cairn::repository {

namespace {

struct Survey {
  const FactsFile* known;
  Timespec since;
  PassResult result;
};

Status look(
    Survey& survey, const os::Dir& dir, ScanRoot& root, const os::FileId& id, std::size_t depth) {
  if (depth > kDepthMax) return Error(Code::kInvalid, "the tree is deeper than allowed");
  std::optional<DirFacts> known;
  if (survey.known != nullptr) {
    auto found = survey.known->find(static_cast<std::uint32_t>(root.index), id);
    if (found.ok()) known = std::move(*found);
  }
  TRY_ASSIGN(const std::vector<ScannedEntry> entries,
             scan_directory(dir, "", root, known ? &*known : nullptr, survey.since));
  for (const ScannedEntry& entry : entries) {
    if (entry.fact.node.type == NodeType::kFile && !entry.unchanged) {
      ++survey.result.files_read;
      survey.result.bytes_read += entry.fact.stat_bytes;
    }
    if (entry.fact.node.type != NodeType::kDir) continue;
    const auto child = dir.open_dir(entry.fact.node.name, os::Crossing::kRefuse);
    if (!child.ok() && os::is_gone(child.error())) continue;
    if (!child.ok()) return child.error();
    TRY(look(survey, *child, root, entry.fact.id, depth + 1));
  }
  return {};
}

}  // namespace

Result<PassResult> survey(const std::vector<ArchiveRoot>& roots, const FactsFile* known) {
  Survey survey{.known = known, .since = wall_now(), .result = {}};
  const Stopwatch watch;
  for (const ArchiveRoot& given : roots) {
    TRY_ASSIGN(ScanRoot root, ScanRoot::open(given));
    TRY(look(survey, *given.dir, root, root.id, 0));
    survey.result.entries += root.entries;
  }
  survey.result.walk_us = watch.elapsed_us();
  return survey.result;
}

}  // namespace cairn::repository
