#include "repository/checker.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <thread>
#include <unordered_map>
#include <utility>

#include "parallel/guarded.h"
#include "parallel/task_group.h"
#include "repository/backend/backend.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/limits.h"
#include "repository/lock.h"
#include "repository/tree_walk.h"

namespace cairn::repository {

namespace {

using Severity = CheckFinding::Severity;

std::string named(std::string_view what, const Id& id) {
  return std::string(what) + " " + id.hex().substr(0, 8);
}

// Collects findings from several threads; at most kFindingsMax, so that a ruin does not fill
// memory.
class Findings {
 public:
  void add(Severity severity, std::string subject, std::string detail) {
    auto list = list_.lock();
    if (list->size() < kFindingsMax) {
      list->push_back({severity, std::move(subject), std::move(detail)});
    }
  }
  std::vector<CheckFinding> take() { return std::move(*list_.lock()); }

 private:
  static constexpr std::size_t kFindingsMax = 10000;
  parallel::Guarded<std::vector<CheckFinding>> list_;
};

// Runs read for every number below count, by several threads, each with a reader of its own.
Status for_each_parallel(Repository& repository,
                         std::size_t count,
                         const std::stop_token& stop,
                         const std::function<void(std::size_t, BlobReader&, codec::Box&)>& read) {
  std::atomic<std::size_t> next = 0;
  parallel::TaskGroup group(stop);
  const auto work = [&](const std::stop_token& stopped) -> Status {
    BlobReader reader(repository);
    codec::Box box(repository.master_key());
    for (std::size_t at = next++; at < count && !stopped.stop_requested(); at = next++) {
      read(at, reader, box);
    }
    return {};
  };
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) group.run(work);
  return group.wait();
}

// Opens blobs out of a pack's bytes, of which the first lies at offset base.
void open_blobs(const IndexedPack& pack,
                ByteView bytes,
                std::uint64_t base,
                BlobReader& reader,
                Findings& findings) {
  Bytes plain;
  for (const PackedBlob& blob : pack.blobs) {
    Status status = check_blob_size(blob);
    if (status.ok() && blob.offset - base + blob.length > bytes.size()) {
      status = Error(Code::kCorrupt, "a blob lies beyond the pack's end");
    }
    if (status.ok()) {
      status = reader.open(blob, bytes.subspan(blob.offset - base, blob.length), plain);
    }
    if (!status.ok()) {
      findings.add(Severity::kError, named("pack", pack.id), status.error().message());
    }
  }
}

void read_whole_pack(Repository& repository,
                     const IndexedPack& pack,
                     BlobReader& reader,
                     codec::Box& box,
                     Findings& findings) {
  const std::string subject = named("pack", pack.id);
  auto bytes = repository.backend().load(FileKind::kPack, pack.id.hex(), UINT32_MAX);
  if (!bytes.ok()) return findings.add(Severity::kError, subject, bytes.error().message());
  if (codec::sha256(*bytes) != pack.id) {
    findings.add(Severity::kError, subject, "the content is not what the name says");
  }
  const auto header = read_pack_header(*bytes, box);
  if (!header.ok()) {
    findings.add(Severity::kError, subject, header.error().message());
  } else if (*header != pack.blobs) {
    findings.add(Severity::kError, subject, "the header differs from the index");
  }
  open_blobs(pack, *bytes, 0, reader, findings);
}

Status check_packs(Repository& repository,
                   const std::vector<IndexedPack>& packs,
                   Findings& findings) {
  TRY_ASSIGN(const std::vector<StoredFile> files, repository.backend().list(FileKind::kPack));
  std::map<std::string, std::uint64_t> sizes;
  for (const StoredFile& file : files) sizes[file.name] = file.size_bytes;
  for (const IndexedPack& pack : packs) {
    const auto found = sizes.find(pack.id.hex());
    if (found == sizes.end()) {
      findings.add(Severity::kError, named("pack", pack.id), "the file is missing");
      continue;
    }
    if (found->second != pack_size(pack.blobs)) {
      findings.add(Severity::kError, named("pack", pack.id), "the file has a wrong size");
    }
    sizes.erase(found);
  }
  for (const auto& [name, size] : sizes) {
    findings.add(Severity::kHint, "pack " + name.substr(0, 8), "no index names it");
  }
  return {};
}

Status check_snapshots(Repository& repository, const std::stop_token& stop, Findings& findings) {
  TRY_ASSIGN(const std::vector<StoredFile> files, repository.backend().list(FileKind::kSnapshot));
  TreeWalk walk(
      repository, [](const BlobIndex::Location&) {},
      [&findings](const Id& tree, const std::string& detail) {
        findings.add(Severity::kError, named("tree", tree), detail);
      });
  for (const StoredFile& file : files) {
    TRY_ASSIGN(const Id id, Id::parse(file.name));
    const auto snapshot = repository.snapshot(id);
    if (!snapshot.ok()) {
      if (snapshot.error().code() == Code::kNotFound) continue;  // removed meanwhile
      findings.add(Severity::kError, named("snapshot", id), snapshot.error().message());
      continue;
    }
    TRY(walk.walk(snapshot->tree, stop));
  }
  return {};
}

}  // namespace

Result<std::vector<CheckFinding>> check(Repository& repository,
                                        ReadData read_data,
                                        Progress& progress,
                                        const std::stop_token& stop) {
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kShared));
  Findings findings;
  progress.phase("check index");
  const Status refreshed = repository.refresh_index();
  if (!refreshed.ok()) {
    if (refreshed.error().code() != Code::kCorrupt) return refreshed.error();
    findings.add(Severity::kError, "index", refreshed.error().message());
  }
  const std::vector<IndexedPack> packs = repository.index()->packs();
  TRY(check_packs(repository, packs, findings));
  progress.phase("check trees");
  TRY(check_snapshots(repository, stop, findings));
  if (read_data == ReadData::kYes) {
    progress.phase("read packs");
    std::atomic<std::uint64_t> done = 0;
    TRY(for_each_parallel(repository, packs.size(), stop,
                          [&](std::size_t at, BlobReader& reader, codec::Box& box) {
                            read_whole_pack(repository, packs[at], reader, box, findings);
                            progress.count({.items_done = ++done, .items_total = packs.size()});
                          }));
  }
  return findings.take();
}

Result<std::vector<CheckFinding>> verify_snapshot(Repository& repository,
                                                  const Id& snapshot,
                                                  Progress& progress,
                                                  const std::stop_token& stop) {
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kShared));
  TRY(repository.refresh_index());
  TRY_ASSIGN(const SnapshotInfo info, repository.snapshot(snapshot));
  Findings findings;
  progress.phase("verify");
  // What the snapshot needs, pack by pack. Trees are read and verified by the walk itself.
  std::unordered_map<Id, std::vector<PackedBlob>, codec::IdHash> needed;
  TreeWalk walk(
      repository,
      [&needed](const BlobIndex::Location& location) {
        if (location.blob.type == BlobType::kData) needed[location.pack].push_back(location.blob);
      },
      [&findings](const Id& tree, const std::string& detail) {
        findings.add(Severity::kError, named("tree", tree), detail);
      });
  TRY(walk.walk(info.tree, stop));
  std::vector<IndexedPack> packs;
  for (auto& [id, blobs] : needed) {
    std::sort(blobs.begin(), blobs.end(),
              [](const PackedBlob& a, const PackedBlob& b) { return a.offset < b.offset; });
    packs.push_back({id, std::move(blobs)});
  }
  std::atomic<std::uint64_t> done = 0;
  TRY(for_each_parallel(
      repository, packs.size(), stop, [&](std::size_t at, BlobReader& reader, codec::Box&) {
        const IndexedPack& pack = packs[at];
        const std::uint64_t begin = pack.blobs.front().offset;
        std::uint64_t end = begin;
        for (const PackedBlob& blob : pack.blobs) {
          end = std::max(end, std::uint64_t{blob.offset} + blob.length);
        }
        Bytes bytes(end - begin);
        const Status loaded =
            repository.backend().load_range(FileKind::kPack, pack.id.hex(), begin, bytes);
        if (loaded.ok()) {
          open_blobs(pack, bytes, begin, reader, findings);
        } else {
          findings.add(Severity::kError, named("pack", pack.id), loaded.error().message());
        }
        progress.count({.items_done = ++done, .items_total = packs.size()});
      }));
  return findings.take();
}

}  // namespace cairn::repository
