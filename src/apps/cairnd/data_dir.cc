#include "apps/cairnd/data_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "os/file.h"

namespace cairn::daemon {

namespace {

constexpr const char* kLockFile = "lock";
constexpr std::size_t kPidBytesMax = 32;

Result<os::Dir> open_or_make(const std::string& path) {
  if (path.empty() || path[0] != '/') {
    return Error(Code::kInvalid, "the data directory must be an absolute path: " + path);
  }
  auto there = os::Dir::open(path);
  if (there.ok() || there.error().code() != Code::kNotFound) return there;
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::size_t slash = trimmed.rfind('/');
  TRY_ASSIGN(const os::Dir parent, os::Dir::open(slash == 0 ? "/" : trimmed.substr(0, slash)));
  TRY_ASSIGN(os::Dir made, parent.ensure_dir(trimmed.substr(slash + 1), 0700));
  TRY(parent.sync());
  return made;
}

}  // namespace

Result<DataDir> DataDir::open(const std::string& absolute_path) {
  auto opened = open_or_make(absolute_path);
  if (!opened.ok()) return opened.error().with_context("open the data directory");
  os::Dir dir = std::move(opened).value();
  // A directory that was made by hand with wider rights is closed: it holds keys and data.
  TRY(os::change_mode(dir.fd(), 0700));

  TRY_ASSIGN(os::Fd lock, dir.open_file(kLockFile, O_RDWR | O_CREAT, 0600));
  if (auto taken = os::lock_exclusive(lock); !taken.ok()) {
    if (taken.error().code() != Code::kBusy) return taken.error();
    auto pid = dir.read_file(kLockFile, kPidBytesMax);
    return Error(Code::kBusy, absolute_path + " is in use by another cairnd, process " +
                                  printable(pid.ok() ? trim(*pid) : "unknown"));
  }
  TRY(os::truncate(lock, 0));
  TRY(os::write_all_at(lock, as_bytes(std::to_string(::getpid()) + "\n"), 0));

  for (const char* name : {"journal", "repo", "keys"}) {
    TRY(dir.ensure_dir(name, 0700));
  }
  // Containers' users pass through it to their volumes.
  TRY(dir.ensure_dir("volumes", 0755));
  TRY(dir.sync());
  return DataDir(std::move(dir), std::move(lock));
}

}  // namespace cairn::daemon
