#include "api/spool.h"

#include <fcntl.h>

#include "api/limits.h"
#include "os/dir.h"
#include "os/file.h"

namespace cairn::api {

namespace {

constexpr std::uint64_t kSpoolCheckBytes = std::uint64_t{64} << 20U;  // between looks at the room
constexpr std::uint64_t kSpoolFreeShare = 20;                         // 1/20 of it stays free

}  // namespace

Result<std::unique_ptr<Spool>> Spool::open(const std::string& directory, SpoolCount count) {
  if (count->fetch_add(1) >= kSpoolsMax) {
    count->fetch_sub(1);
    return Error(Code::kUnavailable, "too many uploads are under way, try again later");
  }
  const auto make = [&directory]() -> Result<os::Fd> {
    TRY_ASSIGN(const os::Dir dir, os::Dir::open(directory));
    return dir.open_file(".", O_TMPFILE | O_RDWR, 0600);
  };
  auto file = make();
  if (!file.ok()) {
    count->fetch_sub(1);
    return file.error().with_context("spool the body");
  }
  return std::unique_ptr<Spool>(new Spool(std::move(file).value(), std::move(count)));
}

Spool::~Spool() {
  count_->fetch_sub(1);
}

Status Spool::append(ByteView bytes) {
  if (size_bytes_ == 0 || size_bytes_ - checked_bytes_ >= kSpoolCheckBytes) {
    TRY_ASSIGN(const os::Space space, os::space_of(file_));
    if (space.available_bytes < space.total_bytes / kSpoolFreeShare) {
      return Error(Code::kNoSpace, "the data directory's file system has no room for the upload");
    }
    checked_bytes_ = size_bytes_;
  }
  TRY_CONTEXT(os::write_all_at(file_, bytes, size_bytes_), "spool the body");
  size_bytes_ += bytes.size();
  return {};
}

}  // namespace cairn::api
