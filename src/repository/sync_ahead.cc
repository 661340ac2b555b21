#include "repository/sync_ahead.h"

#include <utility>

#include "os/file.h"
#include "repository/limits.h"

namespace cairn::repository {

SyncAhead::SyncAhead() : group_({}, [this] { files_.close(); }) {
  group_.run([this](const std::stop_token&) -> Status {
    while (const auto file = files_.pop()) {
      TRY(os::sync_data(*file));
      busy_ = false;
    }
    return {};
  });
}

void SyncAhead::wrote(const os::Fd& file, std::size_t bytes) {
  if (bytes_.fetch_add(bytes) + bytes < kSyncEveryBytes || busy_.exchange(true)) return;
  bytes_ = 0;
  // Its own descriptor: the file may be done, and closed, before it is synced.
  auto own = os::duplicate(file);
  // Once it is pushed its sync may have ended, so only what was not pushed is no longer busy.
  if (!own.ok() || !files_.try_push(*own)) busy_ = false;
}

Status SyncAhead::finish() {
  files_.close();
  return group_.wait();
}

}  // namespace cairn::repository
