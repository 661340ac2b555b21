// Spool: what changed between the last pass and the cut, put aside while the volume holds still.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "os/dir.h"
#include "os/file.h"
#include "repository/facts.h"

namespace cairn::repository {

// A file's content at the instant of the cut. Where only some chunks were put aside, content has
// the ids of the others, and zeros in the places of those.
struct SpooledFile {
  std::size_t spool = 0;              // which one
  std::uint64_t offset = 0;           // in the spool
  os::Stat stat;                      // of the live file; size_bytes of it lie at offset
  std::uint64_t directory_bytes = 0;  // of all files in its directory
  std::uint32_t fixed_bytes = 0;      // of content's chunks; 0: all of the file is here
  std::vector<Id> content;
};

// Whether what is put aside of this tree needs no room: its file system shares blocks between
// files, or nothing can be written there at all.
Result<bool> needs_no_room(const os::Dir& root);

// One unnamed file on the volume's own file system, so that a crash leaves nothing: clones share
// blocks with the live files, copies are made where the file system cannot clone. One thread at a
// time; after the cut, several may read.
class Spool {
 public:
  // In the volume's root, where it makes nothing that can be seen; in scratch where the volume is
  // read-only: then only what is unsettled is copied.
  static Result<std::unique_ptr<Spool>> create(const os::Dir& root, const os::Dir& scratch);

  struct Added {
    SpooledFile file;
    std::uint64_t bytes_cloned = 0;
    std::uint64_t bytes_copied = 0;
  };
  // Puts an open file aside. before: what the last pass knew of the same object, or null; its
  // chunks are compared where the file cannot be cloned. kConflict once deadline_ms passed.
  Result<Added> add(const os::Fd& file,
                    const os::Stat& stat,
                    const Fact* before,
                    std::int64_t deadline_ms);

  // After the last add(): what was left out at the end reads as zeros, too.
  Status seal();

  [[nodiscard]] const os::Fd& fd() const { return file_; }

 private:
  explicit Spool(os::Fd file) : file_(std::move(file)) {}
  Status copy_changed(const os::Fd& file,
                      const Fact& before,
                      Added& added,
                      std::int64_t deadline_ms);
  Status copy_all(const os::Fd& file, Added& added, std::int64_t deadline_ms);

  os::Fd file_;
  std::uint64_t end_ = 0;
  bool can_clone_ = true;  // until the file system says no
  Bytes buffer_;
};

// kConflict once that moment of the monotonic clock has passed; 0: never.
Status check_deadline(std::int64_t deadline_ms);

}  // namespace cairn::repository
