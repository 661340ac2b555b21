// Journal: one file an operation, journal/<operation>, from which recovery knows what to do.
// The file is written in full and synced when it is made: a header page, then zeroed pages that
// records are written into in place. So a full disk cannot stop the way back. Each record carries a
// sequence number and a SHA-256 of itself; a torn record is as if it had not been written.
// The layout is in docs/formats.md, the order of states in docs/ordering.md.
// One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/dir.h"

namespace cairn::volume {

inline constexpr std::size_t kJournalPageBytes = 4096;
inline constexpr std::size_t kJournalBytesMax = 8UL << 20U;  // refused when reading a larger one
inline constexpr std::size_t kJournalReserveBytes = 256UL << 10U;  // beyond the plan, for records

struct JournalRecord {
  std::string state;  // "PLANNED", "STAGED", ... or "PAUSED" for captures
  std::string json;   // what belongs to it; may be empty
};

class Journal {
 public:
  // Makes journal/<operation> with its first record, durable when it returns: file and directory.
  // extra_bytes is reserved beyond the default for later records. Nothing is left on failure.
  static Result<Journal> create(const os::Dir& dir,
                                const std::string& operation,
                                const JournalRecord& first,
                                std::size_t extra_bytes);
  // Opens what a crash left behind. The last record may be torn and is then not there. kCorrupt
  // where the first one is not whole, or one before a whole one: no crash leaves that, the disk
  // lost it, and what was done is not known.
  static Result<Journal> open(const os::Dir& dir, const std::string& operation);

  // Writes the record in place and syncs it: durable before the effect it announces.
  Status append(const JournalRecord& record);

  [[nodiscard]] const std::string& operation() const { return operation_; }
  [[nodiscard]] const std::string& state() const { return records_.back().state; }
  [[nodiscard]] const std::vector<JournalRecord>& records() const { return records_; }
  // The newest record of that state, or nullptr.
  [[nodiscard]] const JournalRecord* find(std::string_view state) const;

  // Removes the file and syncs the directory: the operation is over.
  Status remove(const os::Dir& dir);

 private:
  Journal(std::string operation, os::Fd file, std::size_t size_bytes)
      : operation_(std::move(operation)), file_(std::move(file)), size_bytes_(size_bytes) {}
  Status write_record(const JournalRecord& record);

  std::string operation_;
  os::Fd file_;
  std::size_t size_bytes_ = 0;
  std::size_t next_offset_ = 0;
  std::uint32_t sequence_ = 0;
  std::vector<JournalRecord> records_;
};

// The names of all journals in the directory, sorted: oldest operation first.
Result<std::vector<std::string>> list_journals(const os::Dir& dir);

}  // namespace cairn::volume
