// The data directory: DATA itself and what lies in it, 0700, and the lock that keeps a second
// daemon out. Held for the daemon's life.
#pragma once

#include <string>

#include "base/result.h"
#include "os/dir.h"
#include "os/fd.h"

namespace cairn::daemon {

class DataDir {
 public:
  // Makes what is missing, takes the lock. kBusy with the other daemon's process id.
  static Result<DataDir> open(const std::string& absolute_path);

  [[nodiscard]] const os::Dir& dir() const { return dir_; }

 private:
  DataDir(os::Dir dir, os::Fd lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}
  os::Dir dir_;
  os::Fd lock_;
};

}  // namespace cairn::daemon
