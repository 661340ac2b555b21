#include "repository/restore_window.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <tuple>

#include "base/strings.h"
#include "parallel/task_group.h"
#include "repository/backend/backend.h"
#include "repository/limits.h"
#include "repository/node_writer.h"

namespace cairn::repository {

namespace {

void ensure_size(Bytes& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

}  // namespace

// One after the other, where the default would nest as deep as the tree is.
RestoreDir::~RestoreDir() {
  while (parent && parent.use_count() == 1) {
    std::shared_ptr<RestoreDir> above = std::move(parent->parent);
    parent = std::move(above);
  }
}

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
  // Blobs come in any order, and a hole at the end is written by nobody. A file that is written by
  // one call has its length from it.
  file.sized = file.node.size != 0 && file.pending > 1;
  if (file.sized) TRY(os::truncate(file.fd, file.node.size));
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

std::vector<std::span<RestoreWindow::Need>> RestoreWindow::batches() {
  std::vector<std::span<Need>> batches;
  std::size_t first = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < needs_.size(); ++i) {
    const PackedBlob& blob = needs_[i].blob;
    const std::size_t size = std::max<std::size_t>(plain_size(blob), blob.length);
    if (i > first && bytes + size > kBatchBytesMax) {
      batches.push_back(std::span(needs_).subspan(first, i - first));
      first = i;
      bytes = 0;
    }
    bytes += size;
  }
  if (first < needs_.size()) batches.push_back(std::span(needs_).subspan(first));
  return batches;
}

// Neighbours in one pack are read together, over the gaps between them; sets where each need lies.
std::vector<RestoreWindow::Range> RestoreWindow::plan(std::span<Need> batch,
                                                      std::vector<Need*>& by_pack) {
  by_pack.clear();
  for (Need& need : batch) by_pack.push_back(&need);
  std::ranges::sort(by_pack, [](const Need* a, const Need* b) {
    return std::tie(a->pack, a->blob.offset) < std::tie(b->pack, b->blob.offset);
  });
  std::vector<Range> ranges;
  std::size_t gaps_left = kBatchGapsBytesMax;
  for (Need* need : by_pack) {
    const std::uint64_t begin = need->blob.offset;
    const std::uint64_t end = begin + need->blob.length;
    Range* last = ranges.empty() ? nullptr : &ranges.back();
    const std::uint64_t gap = last != nullptr && begin > last->end ? begin - last->end : 0;
    if (last == nullptr || last->pack != need->pack ||
        gap > std::min(kRangeGapBytesMax, gaps_left)) {
      const std::size_t at = last == nullptr ? 0 : last->at + last->size();
      ranges.push_back({.pack = need->pack, .begin = begin, .end = begin, .at = at});
      last = &ranges.back();
    } else {
      gaps_left -= gap;
    }
    last->end = std::max(last->end, end);
    need->sealed_at = last->at + (begin - last->begin);
  }
  return ranges;
}

Status RestoreWindow::write_run(Worker& worker) {
  if (!worker.file) return {};
  const std::shared_ptr<RestoreFile> file = std::move(worker.file);
  const ByteView run = ByteView(worker.plain).first(worker.bytes);
  // The kernel lets one writer at a time into a file; a second one would wait spinning.
  std::unique_lock lock(file->mutex);
  TRY(open_new(*file));
  auto end = write_with_holes(file->fd, run, worker.offset);
  lock.unlock();
  if (end.ok() && !file->sized && *end != file->node.size) {
    const Status cut = os::truncate(file->fd, file->node.size);
    if (!cut.ok()) end = cut.error();
  }
  if (!end.ok()) return end.error().with_context(printable(file->node.name));
  // The disk works while more is opened: whoever restores syncs in the end.
  if (run.size() >= kWritebackBytesMin) {
    os::begin_writeback(file->fd, worker.offset, run.size());
  }
  return file->pending.fetch_sub(worker.blobs) == worker.blobs ? finish(*file) : Status();
}

// Opens batch[i] behind the run that it continues, or begins a new one with it.
Status RestoreWindow::add_to_run(std::span<Need> batch, std::size_t i, Worker& worker) {
  Need& need = batch[i];
  const std::size_t size = plain_size(need.blob);
  const bool joins = worker.file == need.file && worker.offset + worker.bytes == need.offset &&
                     worker.bytes + size <= kRunBytesMax;
  if (!joins) {
    TRY(write_run(worker));
    worker.file = need.file;
    worker.offset = need.offset;
    worker.bytes = worker.blobs = 0;
  }
  need.file.reset();
  ensure_size(worker.plain, worker.bytes + size);
  const std::span<std::byte> plain = std::span(worker.plain).subspan(worker.bytes, size);
  if (i > 0 && batch[i - 1].blob == need.blob) {
    // The same blob once more: it is still where it was opened.
    std::memmove(plain.data(), worker.plain.data() + worker.last_at, size);
  } else {
    const Status opened = worker.reader.open_into(
        need.blob, std::span(worker.sealed).subspan(need.sealed_at, need.blob.length), plain);
    // Its range could not be read, it is damaged, or it was opened in place once before. Another
    // pack may hold a good copy.
    if (!opened.ok()) {
      auto copy = worker.reader.load(need.blob.type, need.blob.id);
      if (copy.ok() && copy->size() != size) copy = Error(Code::kCorrupt, "blob of another size");
      if (!copy.ok()) return copy.error().with_context("pack " + need.pack.hex().substr(0, 8));
      std::copy(copy->begin(), copy->end(), plain.begin());
    }
  }
  worker.last_at = worker.bytes;
  worker.bytes += size;
  ++worker.blobs;
  return {};
}

Status RestoreWindow::restore_batch(std::span<Need> batch,
                                    Worker& worker,
                                    const std::function<void(std::uint64_t)>& wrote) {
  const std::vector<Range> ranges = plan(batch, worker.by_pack);
  ensure_size(worker.sealed, ranges.back().at + ranges.back().size());
  for (const Range& range : ranges) {
    const std::span<std::byte> sealed = std::span(worker.sealed).subspan(range.at, range.size());
    const Status loaded =
        repository_.backend().load_range(FileKind::kPack, range.pack.hex(), range.begin, sealed);
    // What cannot be read does not open: each of its blobs is then looked for by itself.
    if (!loaded.ok()) std::ranges::fill(sealed, std::byte{0});
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const std::uint64_t bytes = plain_size(batch[i].blob);
    TRY(add_to_run(batch, i, worker));
    wrote(bytes);
  }
  return write_run(worker);
}

Status RestoreWindow::run(const std::stop_token& stop,
                          const std::function<void(std::uint64_t)>& wrote) {
  const std::vector<std::span<Need>> all = batches();
  std::atomic<std::size_t> next_batch = 0;
  std::atomic<std::size_t> next_empty = 0;
  parallel::TaskGroup group(stop);
  const auto work = [&](const std::stop_token& stopped) -> Status {
    Worker worker(repository_);
    while (!stopped.stop_requested()) {
      const std::size_t at = next_empty++;
      if (at >= empty_.size()) break;
      TRY(open_new(*empty_[at]));
      TRY(finish(*empty_[at]));
    }
    while (!stopped.stop_requested()) {
      const std::size_t at = next_batch++;
      if (at >= all.size()) break;
      TRY(restore_batch(all[at], worker, wrote));
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
