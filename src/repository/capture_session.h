// CaptureSession: stores the state that volumes have at one instant while their users run on.
//   pass (again and again)   read what is new or changed -> chunk -> hash -> known? -> pack
//   cut                      list again; what changed since the last pass is cloned or copied aside
//   cut_at_once              in place of both, where little changed since an earlier capture
//   store                    what was put aside -> pack; trees -> pack; a PendingSnapshot
// Only cut() wants the volumes to hold still, and it writes nothing to the repository. A file keeps
// the content of a pass only if docs/formats.md ("Facts") says that it cannot have changed since.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/progress.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/archive.h"
#include "repository/facts.h"
#include "repository/repository.h"

namespace cairn::repository {

struct PassResult {
  std::uint64_t entries = 0;     // looked at
  std::uint64_t files_read = 0;  // new, changed or not certain to be unchanged
  std::uint64_t bytes_read = 0;
  std::int64_t walk_us = 0;  // spent listing and looking, not waiting for reads
};

struct SurveyResult {
  PassResult pass;  // what one would do
  // Of that, what was written within two seconds before: where that goes on, a cut finds it changed
  // again.
  PassResult lately;
};

struct CutResult {
  std::uint64_t entries = 0;
  std::uint64_t files_changed = 0;  // since the last pass
  std::uint64_t bytes_cloned = 0;   // shared with the live files by the file system
  std::uint64_t bytes_copied = 0;
};

// What changed in so few files of so few bytes altogether is not worth a pass of its own.
inline constexpr std::uint64_t kSmallDeltaFiles = 400;
inline constexpr std::uint64_t kSmallDeltaBytes = std::uint64_t{32} << 20U;

// What a cut puts aside at most.
struct CutLimit {
  std::uint64_t files = kSmallDeltaFiles;
  std::uint64_t bytes = kSmallDeltaBytes;  // the sizes of the files
};

struct SessionState;

// One thread at a time; it starts threads of its own, which end with each call.
class CaptureSession {
 public:
  struct Options {
    // Where temporary files go: a directory on a disk, of nobody else.
    const os::Dir* scratch = nullptr;
    // What an earlier capture of the same volumes left (take_facts()); its blobs are looked up.
    std::optional<FactsFile> known;
    // How far the wall clock is ahead (base/clock.h); tests step it.
    std::function<std::int64_t()> wall_offset_ns = cairn::wall_offset_ns;
  };

  // Takes a shared lock on the repository. The directories of roots must outlive the session.
  static Result<std::unique_ptr<CaptureSession>> begin(Repository& repository,
                                                       const std::vector<ArchiveRoot>& roots,
                                                       Options options,
                                                       Progress& progress,
                                                       std::stop_token stop);
  ~CaptureSession();
  CaptureSession(const CaptureSession&) = delete;
  CaptureSession& operator=(const CaptureSession&) = delete;

  // Syncs the volumes' file systems, then reads and stores what is not known: everything where the
  // wall clock was stepped, since file times say nothing then. When it returns, nothing is being
  // written to the repository.
  Result<PassResult> pass();
  // Freezes the instant: after it the volumes may change again. deadline_ms on the monotonic clock;
  // 0: none. kConflict where it passed, or where the wall clock was stepped since the last pass.
  // Only after a pass.
  Result<CutResult> cut(std::int64_t deadline_ms);
  // Whether an earlier capture is known that a cut at once can be held against.
  [[nodiscard]] bool knows_earlier() const;
  // Syncs the volumes' file systems, as a pass does; before cut_at_once(), while they change.
  Status sync();
  // A cut without a pass, held against the earlier capture. Nothing, and nothing is frozen, where
  // more changed since than limit allows or the deadline passed: then a pass and a cut are needed.
  Result<std::optional<CutResult>> cut_at_once(std::int64_t deadline_ms, const CutLimit& limit);
  // In place of a cut, for trees that hold still: takes each file as the last pass read it.
  void freeze();
  // Stores what the cut put aside, and the trees. Only after a cut or freeze(); ends the session.
  Result<PendingSnapshot> store(std::string_view manifest_json);

  // After store(): what the next capture of these volumes may know.
  FactsFile take_facts();

 private:
  explicit CaptureSession(std::unique_ptr<SessionState> state);
  std::unique_ptr<SessionState> state_;
};

// What a pass would look at and read, without reading. known may be null.
Result<SurveyResult> survey(const std::vector<ArchiveRoot>& roots, const FactsFile* known);

}  // namespace cairn::repository
