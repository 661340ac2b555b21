#include "repository/spool.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "codec/chunker.h"
#include "codec/hash.h"

namespace cairn::repository {

namespace {

constexpr std::uint64_t kAlignBytes = 64 * 1024;      // no file system has larger blocks
constexpr std::uint64_t kCloneBytesMin = 256 * 1024;  // below, a copy is quicker than an extent
constexpr std::size_t kCopyBytes = std::size_t{1} << 20U;

}  // namespace

Status check_deadline(std::int64_t deadline_ms) {
  if (deadline_ms == 0 || monotonic_ms() < deadline_ms) return {};
  return Error(Code::kConflict,
               "what changed while it was read could not be put aside within max_hold: raise it "
               "(--max-hold), choose a quieter moment, or use --consistency stopped with a longer "
               "one");
}

Result<bool> needs_no_room(const os::Dir& root) {
  const auto from = root.open_file(".", O_TMPFILE | O_RDWR, 0600);
  if (!from.ok() && from.error().os_errno() == EROFS) return true;
  if (!from.ok()) return from.error();
  TRY_ASSIGN(const os::Fd to, root.open_file(".", O_TMPFILE | O_RDWR, 0600));
  return os::clone_range(*from, 0, 0, to, 0);
}

Result<std::unique_ptr<Spool>> Spool::create(const os::Dir& root, const os::Dir& scratch) {
  constexpr int kFlags = O_TMPFILE | O_RDWR;
  auto file = root.open_file(".", kFlags, 0600);
  if (!file.ok() && file.error().os_errno() == EROFS) file = scratch.open_file(".", kFlags, 0600);
  if (!file.ok()) return file.error().with_context("make room for what changes");
  return std::unique_ptr<Spool>(new Spool(std::move(*file)));
}

Result<Spool::Added> Spool::add(const os::Fd& file,
                                const os::Stat& stat,
                                const Fact* before,
                                std::int64_t deadline_ms) {
  Added added;
  end_ = (end_ + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  added.file.offset = end_;
  added.file.stat = stat;
  if (stat.size_bytes == 0) return added;
  if (can_clone_ && stat.size_bytes >= kCloneBytesMin) {
    TRY_ASSIGN(can_clone_, os::clone_range(file, 0, 0, file_, end_));
    if (can_clone_) {
      added.bytes_cloned = stat.size_bytes;
      end_ += stat.size_bytes;
      return added;
    }
  }
  if (before != nullptr && before->fixed_bytes != 0 && !before->node.content.empty()) {
    TRY(copy_changed(file, *before, added, deadline_ms));
  } else {
    TRY(copy_all(file, added, deadline_ms));
  }
  end_ += added.file.stat.size_bytes;
  return added;
}

Status Spool::seal() {
  return os::truncate(file_, end_);
}

// Chunks whose hash is the known one stay where they are stored.
Status Spool::copy_changed(const os::Fd& file,
                           const Fact& before,
                           Added& added,
                           std::int64_t deadline_ms) {
  SpooledFile& out = added.file;
  const std::uint64_t size = out.stat.size_bytes;
  const std::uint64_t chunk = before.fixed_bytes;
  out.fixed_bytes = before.fixed_bytes;
  out.content.resize((size + chunk - 1) / chunk);
  buffer_.resize(std::max<std::size_t>(buffer_.size(), chunk));
  for (std::uint64_t i = 0; i < out.content.size(); ++i) {
    TRY(check_deadline(deadline_ms));
    const std::uint64_t begin = i * chunk;
    const std::size_t length = std::min(chunk, size - begin);
    const auto bytes = std::span(buffer_).first(length);
    TRY_ASSIGN(const std::size_t got, os::read_at(file, bytes, begin));
    if (got < length) {  // cut shorter by somebody who is not held still
      out.stat.size_bytes = begin + got;
      out.content.resize(i + (got > 0 ? 1 : 0));
      if (got == 0) break;
      if (!codec::is_zero(bytes))
        TRY(os::write_all_at(file_, bytes.first(got), out.offset + begin));
      break;
    }
    if (i < before.node.content.size() && codec::sha256(bytes) == before.node.content[i]) {
      out.content[i] = before.node.content[i];
      continue;
    }
    added.bytes_copied += length;
    // Left out, a hole reads as zeros.
    if (!codec::is_zero(bytes)) TRY(os::write_all_at(file_, bytes, out.offset + begin));
  }
  return {};
}

Status Spool::copy_all(const os::Fd& file, Added& added, std::int64_t deadline_ms) {
  SpooledFile& out = added.file;
  buffer_.resize(std::max(buffer_.size(), kCopyBytes));
  std::uint64_t at = 0;
  while (at < out.stat.size_bytes) {
    TRY(check_deadline(deadline_ms));
    TRY_ASSIGN(const std::optional<os::DataRange> data, os::next_data(file, at));
    if (!data || data->begin >= out.stat.size_bytes) break;
    at = data->begin;
    const std::size_t length =
        std::min<std::uint64_t>({kCopyBytes, data->end - at, out.stat.size_bytes - at});
    const auto bytes = std::span(buffer_).first(length);
    TRY_ASSIGN(const std::size_t got, os::read_at(file, bytes, at));
    if (got == 0) {  // cut shorter by somebody who is not held still
      out.stat.size_bytes = at;
      break;
    }
    TRY(os::write_all_at(file_, bytes.first(got), out.offset + at));
    added.bytes_copied += got;
    at += got;
  }
  return {};
}

}  // namespace cairn::repository
