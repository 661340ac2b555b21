// Spool: the body of a request that is too long for memory, in a file without a name: what a crash
// leaves of it is nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "os/fd.h"

namespace cairn::api {

struct Request;

// How many bytes the body of a request may have in a spool, by its head; nothing: the body is kept
// in memory, under the common bound.
using SpoolRule = std::function<std::optional<std::uint64_t>(const Request& head)>;

// How many spools there are, counted until their files are closed. Thread-safe.
using SpoolCount = std::shared_ptr<std::atomic<std::uint64_t>>;

// One thread at a time.
class Spool {
 public:
  // kUnavailable where kSpoolsMax of them are open; kNoSpace, kInternal.
  static Result<std::unique_ptr<Spool>> open(const std::string& directory, SpoolCount count);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // kNoSpace also where the rest of the file system's room is for others (kSpoolFreeShare).
  Status append(ByteView bytes);

  [[nodiscard]] const os::Fd& file() const { return file_; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  Spool(os::Fd file, SpoolCount count) : file_(std::move(file)), count_(std::move(count)) {}
  const os::Fd file_;
  const SpoolCount count_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t checked_bytes_ = 0;  // where the free space was last looked at
};

}  // namespace cairn::api
