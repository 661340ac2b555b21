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

Status RestoreWindow::open_part(std::span<Need> part, Worker& worker) {
  std::size_t bytes = 0;
  for (Need& need : part) {
    need.plain_at = bytes;
    bytes += plain_size(need.blob);
  }
  ensure_size(worker.plain, bytes);
  const auto content = [&](const Need& need) {
    return std::span(worker.plain).subspan(need.plain_at, plain_size(need.blob));
  };
  const auto repeats = [&](const Need& need) {
    return &need != part.data() && (&need - 1)->blob == need.blob;
  };
  worker.opened.clear();
  worker.contents.clear();
  for (const Need& need : part) {
    if (repeats(need)) continue;
    // What does not open (its range could not be read, it is damaged, or it was opened in place
    // once before) is not what its id says, which is looked at below.
    const auto sealed = std::span(worker.sealed).subspan(need.sealed_at, need.blob.length);
    static_cast<void>(worker.reader.open_into(need.blob, sealed, content(need)));
    worker.opened.push_back(&need);
    worker.contents.emplace_back(content(need));
  }
  worker.ids.resize(worker.opened.size());
  codec::sha256_all(worker.contents, worker.ids);
  for (std::size_t i = 0; i < worker.opened.size(); ++i) {
    const Need& need = *worker.opened[i];
    if (worker.ids[i] == need.blob.id) continue;
    // Another pack may hold a good copy.
    auto copy = worker.reader.load(need.blob.type, need.blob.id);
    if (copy.ok() && copy->size() != plain_size(need.blob)) {
      copy = Error(Code::kCorrupt, "blob of another size");
    }
    if (!copy.ok()) return copy.error().with_context("pack " + need.pack.hex().substr(0, 8));
    std::ranges::copy(*copy, content(need).begin());
  }
  for (const Need& need : part) {
    if (repeats(need)) std::ranges::copy(content(*(&need - 1)), content(need).begin());
  }
  return {};
}

Status RestoreWindow::write_run(std::span<Need> run, ByteView content) {
  const std::shared_ptr<RestoreFile> file = std::move(run.front().file);
  const std::uint64_t offset = run.front().offset;
  for (Need& need : run) need.file.reset();
  // The kernel lets one writer at a time into a file; a second one would wait spinning.
  std::unique_lock lock(file->mutex);
  TRY(open_new(*file));
  auto end = write_with_holes(file->fd, content, offset);
  lock.unlock();
  if (end.ok() && !file->sized && *end != file->node.size) {
    const Status cut = os::truncate(file->fd, file->node.size);
    if (!cut.ok()) end = cut.error();
  }
  if (!end.ok()) return end.error().with_context(printable(file->node.name));
  // The disk works while more is opened: whoever restores syncs in the end.
  if (content.size() >= kWritebackBytesMin) {
    os::begin_writeback(file->fd, offset, content.size());
    sync_ahead_.wrote(file->fd, content.size());
  }
  return file->pending.fetch_sub(run.size()) == run.size() ? finish(*file) : Status();
}

Status RestoreWindow::write_part(std::span<Need> part, ByteView plain) {
  for (std::size_t i = 0; i < part.size();) {
    std::size_t bytes = plain_size(part[i].blob);
    std::size_t end = i + 1;
    while (end < part.size() && part[end].file == part[i].file &&
           part[end].offset == part[i].offset + bytes) {
      bytes += plain_size(part[end++].blob);
    }
    TRY(write_run(part.subspan(i, end - i), plain.subspan(part[i].plain_at, bytes)));
    i = end;
  }
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
  while (!batch.empty()) {
    std::uint64_t bytes = plain_size(batch.front().blob);
    std::size_t count = 1;
    while (count < batch.size() && bytes + plain_size(batch[count].blob) <= kRunBytesMax) {
      bytes += plain_size(batch[count++].blob);
    }
    const std::span<Need> part = batch.first(count);
    TRY(open_part(part, worker));
    TRY(write_part(part, worker.plain));
    wrote(bytes);
    batch = batch.subspan(count);
  }
  return {};
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
