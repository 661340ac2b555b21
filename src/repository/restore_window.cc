#include "repository/restore_window.h"

#include <fcntl.h>

#include <algorithm>
#include <thread>
#include <tuple>

#include "base/strings.h"
#include "parallel/task_group.h"
#include "repository/backend/backend.h"
#include "repository/limits.h"
#include "repository/node_writer.h"

namespace cairn::repository {

namespace {

Status write_blob(RestoreFile& file, ByteView plain, std::uint64_t offset) {
  {
    const std::scoped_lock lock(file.mutex);
    TRY(open_new(file));
  }
  TRY(write_with_holes(file.fd, plain, offset));
  if (file.pending.fetch_sub(1) == 1) TRY(finish(file));
  return {};
}

}  // namespace

Status release(std::shared_ptr<RestoreDir> dir) {
  while (dir && dir->pending.fetch_sub(1) == 1) {
    const Status written = write_metadata(dir->dir.fd(), dir->node);
    if (!written.ok()) return written.error().with_context(printable(dir->node.name));
    dir = std::shared_ptr<RestoreDir>(dir->parent);
  }
  return {};
}

Status open_new(RestoreFile& file) {
  if (file.fd.valid()) return {};
  TRY_ASSIGN(file.fd, file.dir->dir.open_file(file.node.name, O_WRONLY | O_CREAT | O_EXCL, 0600,
                                              os::Crossing::kRefuse));
  // Blobs come in any order, and a hole at the end is written by nobody.
  if (file.node.size != 0) TRY(os::truncate(file.fd, file.node.size));
  return {};
}

Status finish(RestoreFile& file) {
  const Status written = write_metadata(file.fd, file.node);
  if (!written.ok()) return written.error().with_context(printable(file.node.name));
  file.fd.reset();
  return release(std::move(file.dir));
}

void RestoreWindow::add(const std::shared_ptr<RestoreFile>& file,
                        const BlobIndex::Location& location,
                        std::uint64_t offset) {
  needs_.push_back({location.pack, location.blob, file, offset});
}

std::vector<RestoreWindow::Range> RestoreWindow::plan() {
  std::sort(needs_.begin(), needs_.end(), [](const Need& a, const Need& b) {
    return std::tie(a.pack, a.blob.offset) < std::tie(b.pack, b.blob.offset);
  });
  std::vector<Range> ranges;
  for (std::size_t i = 0; i < needs_.size(); ++i) {
    const PackedBlob& blob = needs_[i].blob;
    const std::uint64_t end = std::uint64_t{blob.offset} + blob.length;
    if (!ranges.empty()) {
      Range& last = ranges.back();
      if (needs_[last.first].pack == needs_[i].pack &&
          blob.offset <= last.end + kRangeGapBytesMax && end - last.begin <= kRangeBytesMax) {
        ++last.count;
        last.end = std::max(last.end, end);
        continue;
      }
    }
    ranges.push_back({.first = i, .count = 1, .begin = blob.offset, .end = end});
  }
  return ranges;
}

Status RestoreWindow::read_range(const Range& range,
                                 BlobReader& reader,
                                 Bytes& buffer,
                                 Bytes& plain,
                                 const std::function<void(std::uint64_t)>& wrote) {
  const Id pack = needs_[range.first].pack;
  const std::size_t size = range.end - range.begin;
  if (buffer.size() < size) buffer.resize(size);
  Status loaded = repository_.backend().load_range(FileKind::kPack, pack.hex(), range.begin,
                                                   std::span(buffer).first(size));
  for (std::size_t i = range.first; i < range.first + range.count; ++i) {
    Need& need = needs_[i];
    const bool repeated = i > range.first && needs_[i - 1].blob.id == need.blob.id;
    if (!repeated) {
      Status opened = loaded;
      if (opened.ok()) {
        const ByteView sealed =
            ByteView(buffer).subspan(need.blob.offset - range.begin, need.blob.length);
        opened = reader.open(need.blob, sealed, plain);
      }
      // Another pack may hold a good copy.
      if (!opened.ok()) {
        auto copy = reader.load(need.blob.type, need.blob.id);
        if (!copy.ok()) {
          return copy.error().with_context("pack " + pack.hex().substr(0, 8));
        }
        plain = std::move(*copy);
      }
    }
    wrote(plain.size());
    const std::shared_ptr<RestoreFile> file = std::move(need.file);
    const Status written = write_blob(*file, plain, need.offset);
    if (!written.ok()) return written.error().with_context(printable(file->node.name));
  }
  return {};
}

Status RestoreWindow::run(const std::stop_token& stop,
                          const std::function<void(std::uint64_t)>& wrote) {
  const std::vector<Range> ranges = plan();
  std::atomic<std::size_t> next_range = 0;
  std::atomic<std::size_t> next_empty = 0;
  parallel::TaskGroup group(stop);
  const auto work = [&](const std::stop_token& stopped) -> Status {
    BlobReader reader(repository_);
    Bytes buffer;
    Bytes plain;
    while (!stopped.stop_requested()) {
      const std::size_t at = next_empty++;
      if (at >= empty_.size()) break;
      TRY(open_new(*empty_[at]));
      TRY(finish(*empty_[at]));
    }
    while (!stopped.stop_requested()) {
      const std::size_t at = next_range++;
      if (at >= ranges.size()) break;
      TRY(read_range(ranges[at], reader, buffer, plain, wrote));
    }
    return {};
  };
  const std::size_t workers =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, kWorkersMax);
  for (std::size_t i = 0; i < workers; ++i) group.run(work);
  TRY(group.wait());
  needs_.clear();
  empty_.clear();
  return {};
}

}  // namespace cairn::repository
