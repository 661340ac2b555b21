#include "repository/lock.h"

#include <unistd.h>

#include <chrono>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "os/dir.h"
#include "repository/backend/backend.h"
#include "repository/json_reader.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

struct LockFile {
  Timespec time;
  bool exclusive = false;
  std::string hostname;
  std::string username;
  std::uint64_t pid = 0;
};

std::string encode(const LockFile& lock) {
  std::string out = "{\"time\":\"" + to_rfc3339(lock.time) + "\",\"exclusive\":";
  out += lock.exclusive ? "true" : "false";
  out += ",\"hostname\":";
  append_json_string(out, lock.hostname);
  out += ",\"username\":";
  append_json_string(out, lock.username);
  out += ",\"pid\":" + std::to_string(lock.pid) + "}";
  return out;
}

Result<LockFile> parse(std::string_view json) {
  JsonReader reader(json);
  LockFile lock;
  std::string key;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key == "time") {
      const auto time = parse_rfc3339(reader.string());
      if (!time.ok()) reader.fail("bad time");
      lock.time = time.value_or({});
    } else if (key == "exclusive") {
      lock.exclusive = reader.boolean();
    } else if (key == "hostname") {
      reader.string(lock.hostname);
    } else if (key == "username") {
      reader.string(lock.username);
    } else if (key == "pid") {
      lock.pid = reader.number();
    } else {
      reader.skip();
    }
  }
  TRY_CONTEXT(reader.finish(), "lock");
  return lock;
}

bool process_lives(std::uint64_t pid) {
  const auto proc = os::Dir::open("/proc");
  if (!proc.ok()) return true;
  const auto found = proc->find(std::to_string(pid));
  return !found.ok() || found->has_value();
}

bool is_stale(const LockFile& lock, const Owner& owner) {
  const std::int64_t age_s = wall_now().seconds - lock.time.seconds;
  if (age_s * 1000 > kLockStaleMs) return true;
  return lock.hostname == owner.hostname && !process_lives(lock.pid);
}

// Nothing where the file went away meanwhile.
Result<std::optional<LockFile>> load(Repository& repository, const StoredFile& file) {
  TRY_ASSIGN(const Id id, Id::parse(file.name));
  auto json = repository.load_unpacked(FileKind::kLock, id);
  if (!json.ok()) {
    if (json.error().code() == Code::kNotFound) return std::optional<LockFile>();
    return json.error();
  }
  TRY_ASSIGN(LockFile lock, parse(*json));
  return std::optional<LockFile>(std::move(lock));
}

Status remove_if_there(Repository& repository, const std::string& name) {
  Status removed = repository.backend().remove(FileKind::kLock, name);
  if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  return {};
}

}  // namespace

RepositoryLock::RepositoryLock(Repository& repository, LockMode mode)
    : repository_(repository), mode_(mode), time_(wall_now()), taken_ms_(monotonic_ms()) {}

Result<std::unique_ptr<RepositoryLock>> RepositoryLock::take(Repository& repository,
                                                             LockMode mode) {
  std::unique_ptr<RepositoryLock> lock(new RepositoryLock(repository, mode));
  TRY(lock->check_others());
  TRY_ASSIGN(lock->id_, lock->write());
  lock->taken_ms_ = lock->refreshed_ms_ = monotonic_ms();
  lock->refresher_ =
      std::jthread([raw = lock.get()](const std::stop_token& stop) { raw->refresh_loop(stop); });
  if (mode == LockMode::kExclusive) TRY(lock->confirm());
  return lock;
}

RepositoryLock::~RepositoryLock() {
  refresher_ = {};  // asks it to stop and joins
  if (id_.is_zero()) return;
  const Status removed = remove_if_there(repository_, id_.hex());
  if (!removed.ok()) log::warn("cannot remove a repository lock: {}", removed.error().message());
}

Result<Id> RepositoryLock::write() {
  return repository_.save_unpacked(FileKind::kLock,
                                   encode({.time = wall_now(),
                                           .exclusive = mode_ == LockMode::kExclusive,
                                           .hostname = repository_.owner().hostname,
                                           .username = repository_.owner().username,
                                           .pid = static_cast<std::uint64_t>(::getpid())}));
}

Status RepositoryLock::check_others() {
  TRY_ASSIGN(const std::vector<StoredFile> files, repository_.backend().list(FileKind::kLock));
  std::string own;
  {
    const std::scoped_lock guard(mutex_);
    if (!id_.is_zero()) own = id_.hex();
  }
  for (const StoredFile& file : files) {
    // An empty lock file is one whose writer died, or that is being written right now.
    if (file.name == own || file.size_bytes == 0) continue;
    TRY_ASSIGN(const std::optional<LockFile> other, load(repository_, file));
    if (!other) continue;
    if (mode_ == LockMode::kShared && !other->exclusive) continue;
    if (is_stale(*other, repository_.owner())) {
      TRY(remove_if_there(repository_, file.name));
      continue;
    }
    ErrorDetail detail;
    detail.holder = other->hostname + ", process " + std::to_string(other->pid);
    return Error(Code::kBusy, "the repository is locked by " + printable(detail.holder), detail);
  }
  return {};
}

Status RepositoryLock::confirm() {
  const std::int64_t wait_ms = taken_ms_ + kLockWaitMs - monotonic_ms();
  if (wait_ms > 0 && !repository_.backend().lists_at_once()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
  }
  {
    const std::scoped_lock guard(mutex_);
    if (monotonic_ms() - refreshed_ms_ > kLockStaleMs - kLockRefreshMs) {
      return Error(Code::kUnavailable, "the repository's lock could not be refreshed");
    }
  }
  return check_others();
}

void RepositoryLock::refresh_loop(const std::stop_token& stop) {
  std::unique_lock guard(mutex_);
  while (true) {
    wake_.wait_for(guard, stop, std::chrono::milliseconds(kLockRefreshMs), [] { return false; });
    if (stop.stop_requested()) return;
    const Id old = id_;
    guard.unlock();
    const auto fresh = write();
    if (fresh.ok()) {
      const Status removed = remove_if_there(repository_, old.hex());
      if (!removed.ok()) log::warn("cannot remove an old lock: {}", removed.error().message());
    } else {
      log::warn("cannot refresh the repository's lock: {}", fresh.error().message());
    }
    guard.lock();
    if (!fresh.ok()) continue;
    id_ = *fresh;
    refreshed_ms_ = monotonic_ms();
  }
}

Status remove_stale_locks(Repository& repository) {
  TRY_ASSIGN(const std::vector<StoredFile> files, repository.backend().list(FileKind::kLock));
  for (const StoredFile& file : files) {
    if (file.size_bytes != 0) {
      const auto lock = load(repository, file);
      // One that does not open is not ours to judge: it may be of another key or being written.
      if (!lock.ok() || !*lock || !is_stale(**lock, repository.owner())) continue;
    }
    TRY(remove_if_there(repository, file.name));
  }
  return {};
}

}  // namespace cairn::repository
