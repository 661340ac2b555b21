// cairn_repo_tool: the repository engine on a command line, for tests and benchmarks only. The
// password comes from CAIRN_REPO_PASSWORD.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/strings.h"
#include "codec/hash.h"
#include "repository/capture_session.h"
#include "repository/checker.h"
#include "repository/pruner.h"
#include "repository/repository.h"
#include "repository/restorer.h"

namespace cairn::repository {
namespace {

constexpr const char* kUsage =
    "usage: cairn_repo_tool init REPO\n"
    "       cairn_repo_tool capture REPO SCRATCH DIR...      prints the snapshot's id\n"
    "       cairn_repo_tool capture-live REPO SCRATCH DIR... the same, of no one instant\n"
    "       cairn_repo_tool restore REPO SNAPSHOT PATH TARGET [PATH TARGET]...\n"
    "       cairn_repo_tool measure REPO SNAPSHOT PATH\n"
    "       cairn_repo_tool cat REPO SNAPSHOT PATH\n"
    "       cairn_repo_tool snapshots|check|check-data|prune REPO\n"
    "       cairn_repo_tool verify|forget REPO SNAPSHOT\n";

using Arguments = std::vector<std::string>;

Result<std::unique_ptr<Repository>> open(const std::string& path, bool make = false) {
  const char* password = std::getenv("CAIRN_REPO_PASSWORD");
  if (password == nullptr) return Error(Code::kInvalid, "CAIRN_REPO_PASSWORD is not set");
  const Owner owner{.hostname = "test", .username = "test"};
  return make ? Repository::init(path, password, owner) : Repository::open(path, password, owner);
}

Status run_init(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0], true));
  std::printf("%s\n", repository->id().c_str());
  return {};
}

void print_stats(const ArchiveResult& result) {
  for (const RootStats& root : result.roots) {
    std::fprintf(stderr,
                 "root %d: %llu bytes, %llu files, %llu dirs, %llu sockets skipped, %llu linked "
                 "outside\n",
                 root.index, static_cast<unsigned long long>(root.bytes),
                 static_cast<unsigned long long>(root.files),
                 static_cast<unsigned long long>(root.dirs),
                 static_cast<unsigned long long>(root.sockets_skipped),
                 static_cast<unsigned long long>(root.links_outside));
  }
  std::fprintf(stderr, "added %llu bytes in %llu blobs\n",
               static_cast<unsigned long long>(result.bytes_added),
               static_cast<unsigned long long>(result.blobs_added));
}

// capture REPO SCRATCH DIR...: what the daemon does without its catalog, locks and containers. What
// this capture knows of the directories is kept in SCRATCH for the next one of the same ones.
Status capture(const Arguments& args, bool live) {
  constexpr const char* kFactsName = "facts";
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const os::Dir scratch, os::Dir::open(args[1]));
  std::vector<os::Dir> dirs;
  dirs.reserve(args.size());
  std::string paths;
  for (std::size_t i = 2; i < args.size(); ++i) {
    TRY_ASSIGN(os::Dir dir, os::Dir::open(args[i]));
    dirs.push_back(std::move(dir));
    paths += args[i] + '\n';
  }
  const Id owner = codec::sha256(as_bytes(repository->id() + '\n' + paths));
  std::vector<ArchiveRoot> roots;
  for (std::size_t i = 0; i < dirs.size(); ++i) roots.push_back({static_cast<int>(i), &dirs[i]});
  const SnapshotMeta meta{.time = wall_now(),
                          .hostname = "test",
                          .username = "test",
                          .tags = {"tool"},
                          .parent = {},
                          .original = {}};
  NoProgress progress;
  CaptureSession::Options options;
  options.scratch = &scratch;
  options.known = FactsFile::load(scratch, kFactsName, owner);
  TRY_ASSIGN(const auto session,
             CaptureSession::begin(*repository, roots, std::move(options), progress, {}));
  bool is_cut = false;
  if (!live && session->knows_earlier()) {
    TRY(session->sync());
    TRY_ASSIGN(const auto at_once, session->cut_at_once(0, CutLimit{}));
    is_cut = at_once.has_value();
  }
  if (!is_cut) {
    TRY(session->pass());
    if (live) {
      session->freeze();
    } else {
      TRY(session->cut(0));
    }
  }
  TRY_ASSIGN(PendingSnapshot pending, session->store("{\"test\":true}"));
  print_stats(pending.result);
  TRY_ASSIGN(const Id id, repository->commit(std::move(pending), meta));
  FactsFile facts = session->take_facts();
  TRY(facts.save(scratch, kFactsName, owner));
  std::printf("%s\n", id.hex().c_str());
  return {};
}

Status run_capture(const Arguments& args) {
  return capture(args, false);
}

Status run_capture_live(const Arguments& args) {
  return capture(args, true);
}

Status run_restore(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const SnapshotInfo snapshot, repository->find_snapshot(args[1]));
  std::vector<os::Dir> dirs;
  dirs.reserve(args.size());
  for (std::size_t i = 3; i < args.size(); i += 2) {
    TRY_ASSIGN(os::Dir dir, os::Dir::open(args[i]));
    dirs.push_back(std::move(dir));
  }
  std::vector<RestoreTarget> targets;
  targets.reserve(dirs.size());
  for (std::size_t i = 0; i < dirs.size(); ++i) targets.push_back({args[2 + 2 * i], &dirs[i]});
  NoProgress progress;
  TRY_ASSIGN(const RestoreStats stats, restore(*repository, snapshot.id, targets, progress, {}));
  std::printf("%llu bytes, %llu entries\n", static_cast<unsigned long long>(stats.bytes),
              static_cast<unsigned long long>(stats.entries));
  return {};
}

Status run_measure(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const SnapshotInfo snapshot, repository->find_snapshot(args[1]));
  TRY_ASSIGN(const StoredSize size, measure(*repository, snapshot.id, args[2]));
  std::printf("%llu bytes, %llu entries\n", static_cast<unsigned long long>(size.bytes),
              static_cast<unsigned long long>(size.entries));
  return {};
}

Status run_cat(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const SnapshotInfo snapshot, repository->find_snapshot(args[1]));
  TRY_ASSIGN(const std::string content, read_file(*repository, snapshot.id, args[2], 1 << 20));
  std::fwrite(content.data(), 1, content.size(), stdout);
  return {};
}

Status run_snapshots(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const std::vector<SnapshotInfo> all, repository->snapshots());
  for (const SnapshotInfo& snapshot : all) {
    std::printf("%s %s\n", snapshot.id.hex().c_str(), to_rfc3339(snapshot.meta.time).c_str());
  }
  return {};
}

Status print_findings(const std::vector<CheckFinding>& findings) {
  bool damaged = false;
  for (const CheckFinding& finding : findings) {
    const bool error = finding.severity == CheckFinding::Severity::kError;
    damaged = damaged || error;
    std::printf("%s: %s: %s\n", error ? "error" : "hint", finding.subject.c_str(),
                finding.detail.c_str());
  }
  if (damaged) return Error(Code::kCorrupt, "the repository is damaged");
  std::printf("clean\n");
  return {};
}

Status run_check(const Arguments& args, ReadData read_data) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  NoProgress progress;
  TRY_ASSIGN(const std::vector<CheckFinding> findings, check(*repository, read_data, progress, {}));
  return print_findings(findings);
}

Status run_verify(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const SnapshotInfo snapshot, repository->find_snapshot(args[1]));
  NoProgress progress;
  TRY_ASSIGN(const std::vector<CheckFinding> findings,
             verify_snapshot(*repository, snapshot.id, progress, {}));
  return print_findings(findings);
}

Status run_prune(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  NoProgress progress;
  TRY_ASSIGN(const PruneStats stats, prune(*repository, progress, {}));
  std::printf("removed %llu, repacked %llu, freed %llu bytes\n",
              static_cast<unsigned long long>(stats.packs_removed),
              static_cast<unsigned long long>(stats.packs_repacked),
              static_cast<unsigned long long>(stats.bytes_freed));
  return {};
}

Status run_forget(const Arguments& args) {
  TRY_ASSIGN(const auto repository, open(args[0]));
  TRY_ASSIGN(const SnapshotInfo snapshot, repository->find_snapshot(args[1]));
  return repository->remove_snapshot(snapshot.id);
}

struct Verb {
  std::size_t arguments_min;
  std::function<Status(const Arguments&)> run;
};

int run(const Arguments& args) {
  const std::map<std::string, Verb> verbs = {
      {"init", {1, run_init}},
      {"capture", {3, run_capture}},
      {"capture-live", {3, run_capture_live}},
      {"restore", {4, run_restore}},
      {"measure", {3, run_measure}},
      {"cat", {3, run_cat}},
      {"snapshots", {1, run_snapshots}},
      {"check", {1, [](const Arguments& a) { return run_check(a, ReadData::kNo); }}},
      {"check-data", {1, [](const Arguments& a) { return run_check(a, ReadData::kYes); }}},
      {"verify", {2, run_verify}},
      {"prune", {1, run_prune}},
      {"forget", {2, run_forget}},
  };
  const auto verb = args.empty() ? verbs.end() : verbs.find(args[0]);
  if (verb == verbs.end() || args.size() - 1 < verb->second.arguments_min) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const Status status = verb->second.run(Arguments(args.begin() + 1, args.end()));
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", std::string(code_name(status.error().code())).c_str(),
               status.error().message().c_str());
  return 1;
}

}  // namespace
}  // namespace cairn::repository

int main(int argc, char** argv) {
  cairn::os::raise_descriptor_limit();
  return cairn::repository::run({argv + 1, argv + argc});
}
