// What the stages of a CaptureSession share. Not for other modules.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "repository/blob_writer.h"
#include "repository/capture_session.h"
#include "repository/facts.h"
#include "repository/lock.h"
#include "repository/scan.h"
#include "repository/spool.h"

namespace cairn::repository {

// How far the whole session is, for people. Thread-safe.
class SessionProgress {
 public:
  explicit SessionProgress(Progress& progress) : progress_(progress) {}
  void begin(std::string_view phase);
  // What all of the phase is, once that is known.
  void expect(std::uint64_t bytes, std::uint64_t items);
  void add(std::uint64_t bytes, std::uint64_t items);
  void end();

 private:
  [[nodiscard]] Progress::Count count() const;
  Progress& progress_;
  std::atomic<std::uint64_t> bytes_ = 0;
  std::atomic<std::uint64_t> items_ = 0;
  std::atomic<std::uint64_t> bytes_total_ = 0;
  std::atomic<std::uint64_t> items_total_ = 0;
  std::atomic<std::int64_t> told_ms_ = 0;
};

struct SessionState {
  SessionState(Repository& to, Progress& tell, std::stop_token asked)
      : repository(to), stop(std::move(asked)), progress(tell), writer(to, stop) {}

  Repository& repository;
  const std::stop_token stop;
  SessionProgress progress;
  PendingSnapshot pending;  // holds the lock
  BlobWriter writer;
  const os::Dir* scratch = nullptr;
  std::vector<ArchiveRoot> given;
  std::optional<FactsFile> known;  // of the newest pass, or of an earlier capture
  bool known_is_old = true;        // of an earlier capture: blobs may be gone
  std::function<std::int64_t()> wall_offset_ns;
  std::int64_t offset_ns = 0;   // of the wall clock, when the session began or was stepped
  Timespec since;               // when the newest pass began to sync
  std::vector<ScanRoot> roots;  // of the newest pass, or of the cut
  std::optional<FactsFile> frozen;
  std::vector<std::unique_ptr<Spool>> spools;  // one a root
  std::vector<SpooledFile> spooled;
  std::optional<FactsFile> stored;

  // Whether somebody stepped the wall clock since the last call.
  bool clock_stepped();
  // kConflict where somebody did.
  Status check_clock();
  // Facts of an earlier capture may name blobs that a prune removed since. Thread-safe.
  [[nodiscard]] bool is_stored(const Fact& fact);
  [[nodiscard]] bool is_stored(const DirFacts& facts);
};

// The stages, each in a file of its own.
Status sync_volumes(SessionState& session);
Result<PassResult> run_pass(SessionState& session);
// With a limit: nothing where more changed than it allows, or where the deadline passed.
Result<std::optional<CutResult>> run_cut(SessionState& session,
                                         std::int64_t deadline_ms,
                                         const CutLimit* limit);
Result<PendingSnapshot> run_store(SessionState& session, std::string_view manifest);

}  // namespace cairn::repository
