#include "repository/file_store.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "codec/chunker.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

constexpr std::size_t kReadBytes = 2 * codec::kChunkBytesMax;
constexpr std::size_t kPieceBytes = std::size_t{4} << 20U;  // of fixed chunks, for one thread
constexpr std::size_t kStepBytes = std::size_t{1} << 20U;   // of fixed chunks, one read
constexpr std::uint64_t kHoleSlackBytes = 64 * 1024;        // preallocated tails are no holes

void ensure_size(Bytes& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

bool is_zeros(ByteView chunk) {
  return chunk.size() >= kHoleBytesMin && codec::is_zero(chunk);
}

void put_id(OpenFile& file, std::size_t index, const Id& id) {
  const std::scoped_lock lock(file.mutex);
  if (file.content.size() <= index) file.content.resize(index + 1);
  file.content[index] = id;
}

}  // namespace

Result<ReadableFile> open_to_read(const os::Dir& dir, const std::string& name) {
  // Named first and looked at: a fifo or a device may have taken the name, and opening one acts.
  const auto named = dir.open_path(name);
  if (!named.ok()) {
    if (named.error().os_errno() == ENOENT) return ReadableFile{};
    return named.error();
  }
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(*named));
  if (stat.type != os::FileType::kRegular) return ReadableFile{};
  auto fd = os::reopen(*named, O_RDONLY | O_NOATIME);
  // Only the owner and root may leave the atime alone.
  if (!fd.ok() && fd.error().os_errno() == EPERM) fd = os::reopen(*named, O_RDONLY);
  if (!fd.ok()) return fd.error();
  return ReadableFile{std::move(*fd), stat};
}

Result<Id> FileStore::store_chunk(ByteView chunk, StoreContext& context) {
  if (is_zeros(chunk)) {
    return writer_.store_zeros(chunk.size(), context);
  }
  return writer_.store(BlobType::kData, chunk, context);
}

Status FileStore::end_piece(OpenFile& file, StoreContext& context) {
  if (file.pending.fetch_sub(1) != 1) return {};
  if (file.fixed_bytes != 0) {
    // The file may have been cut shorter meanwhile: what lies beyond was not read.
    const std::uint64_t chunks = (file.size_bytes + file.fixed_bytes - 1) / file.fixed_bytes;
    file.content.resize(chunks);
  }
  return file.done(file, context);
}

Status FileStore::store(const std::shared_ptr<OpenFile>& file,
                        Bytes& buffer,
                        StoreContext& context) {
  // What is written behind the size that was seen belongs to the next capture.
  const std::uint64_t size = file->stat.size_bytes;
  if (size <= kWholeFileBytesMax) {
    ensure_size(buffer, size);
    TRY_ASSIGN(const std::size_t got,
               os::read_at(file->fd, std::span(buffer).first(size), file->offset));
    file->size_bytes = got;
    if (got > 0) {
      TRY_ASSIGN(const Id id, store_chunk(ByteView(buffer).first(got), context));
      file->content.push_back(id);
      stored_(got);
    }
    return end_piece(*file, context);
  }
  std::array<std::byte, 512> head{};
  TRY_ASSIGN(const std::size_t got, os::read_at(file->fd, head, file->offset));
  file->has_holes = file->stat.blocks_bytes + kHoleSlackBytes < size;
  const codec::ChunkPlan plan = codec::plan_chunks({.size_bytes = size,
                                                    .has_holes = file->has_holes,
                                                    .head = ByteView(head).first(got),
                                                    .directory_bytes = file->directory_bytes});
  if (plan.chunking == codec::Chunking::kFixed) {
    file->fixed_bytes = plan.fixed_bytes;
    return store_fixed(file, buffer, context);
  }
  return store_by_content(file, buffer, context);
}

Status FileStore::store_fixed(const std::shared_ptr<OpenFile>& file,
                              Bytes& buffer,
                              StoreContext& context) {
  const std::size_t chunk = file->fixed_bytes;
  const std::uint64_t size = file->stat.size_bytes;
  const std::size_t chunks = (size + chunk - 1) / chunk;
  const std::size_t step = std::max<std::size_t>(1, kPieceBytes / chunk);
  file->size_bytes = size;
  file->content.resize(chunks);
  for (std::size_t first = 0; first < chunks; first += step) {
    const std::size_t count = std::min(step, chunks - first);
    ++file->pending;
    FilePiece piece{.file = file, .first = first, .count = count, .bytes = {}};
    if (offer_(piece)) continue;
    TRY(store_piece(std::move(piece), buffer, context));
  }
  return end_piece(*file, context);
}

// Reads [begin, begin + length) and stores its chunks. What lies beyond a new end of the file is
// left out.
Status FileStore::store_step(
    OpenFile& file, std::uint64_t begin, std::size_t length, Bytes& buffer, StoreContext& context) {
  ensure_size(buffer, length);
  TRY_ASSIGN(const std::size_t got,
             os::read_at(file.fd, std::span(buffer).first(length), file.offset + begin));
  context.chunks.clear();
  for (std::size_t at = 0; at < got; at += file.fixed_bytes) {
    const auto chunk = ByteView(buffer).subspan(at, std::min(file.fixed_bytes, got - at));
    // The id of zeros is known.
    context.chunks.push_back(is_zeros(chunk) ? ByteView() : chunk);
  }
  context.ids.resize(context.chunks.size());
  codec::sha256_all(context.chunks, context.ids);
  for (std::size_t i = 0; i < context.chunks.size(); ++i) {
    const ByteView chunk = context.chunks[i];
    Id& id = context.ids[i];
    if (chunk.empty()) {
      const std::size_t size = std::min(file.fixed_bytes, got - i * file.fixed_bytes);
      TRY_ASSIGN(id, writer_.store_zeros(size, context));
    } else {
      TRY(writer_.store(BlobType::kData, id, chunk, context));
    }
    put_id(file, begin / file.fixed_bytes + i, id);
  }
  stored_(got);
  if (got == length) return {};
  const std::scoped_lock lock(file.mutex);
  file.size_bytes = std::min(file.size_bytes, begin + got);
  return {};
}

Status FileStore::store_range(
    OpenFile& file, std::size_t first, std::size_t count, Bytes& buffer, StoreContext& context) {
  const std::uint64_t size = file.stat.size_bytes;
  const std::size_t step = std::max<std::size_t>(1, kStepBytes / file.fixed_bytes);
  for (std::size_t i = first; i < first + count;) {
    std::size_t chunks = std::min(step, first + count - i);
    const std::uint64_t begin = std::uint64_t{i} * file.fixed_bytes;
    if (file.has_holes) {
      chunks = 1;
      const std::uint64_t end = std::min<std::uint64_t>(begin + file.fixed_bytes, size);
      TRY_ASSIGN(const std::optional<os::DataRange> data,
                 os::next_data(file.fd, file.offset + begin));
      if (!data || data->begin >= file.offset + end) {
        TRY_ASSIGN(const Id id, writer_.store_zeros(end - begin, context));
        put_id(file, i++, id);
        stored_(end - begin);
        continue;
      }
    }
    const std::size_t length =
        std::min<std::uint64_t>(std::uint64_t{chunks} * file.fixed_bytes, size - begin);
    TRY(store_step(file, begin, length, buffer, context));
    i += chunks;
  }
  return {};
}

Status FileStore::store_by_content(const std::shared_ptr<OpenFile>& file,
                                   Bytes& buffer,
                                   StoreContext& context) {
  ensure_size(buffer, kReadBytes);
  std::size_t begin = 0;  // of what is not stored yet, in buffer
  std::size_t end = 0;
  std::uint64_t offset = 0;  // in the file, of buffer's end
  bool at_end = false;
  for (std::size_t index = 0;; ++index) {
    if (!at_end && end - begin < codec::kChunkBytesMax) {
      std::memmove(buffer.data(), buffer.data() + begin, end - begin);
      end -= begin;
      begin = 0;
      const std::size_t wanted =
          std::min<std::uint64_t>(kReadBytes - end, file->stat.size_bytes - offset);
      TRY_ASSIGN(
          const std::size_t got,
          os::read_at(file->fd, std::span(buffer).subspan(end, wanted), file->offset + offset));
      at_end = got < wanted || offset + got == file->stat.size_bytes;
      end += got;
      offset += got;
    }
    if (begin == end) break;
    const ByteView rest = ByteView(buffer).subspan(begin, end - begin);
    const std::size_t cut = codec::first_cut(rest);
    begin += cut;
    // A copy goes to another thread while there is room; otherwise this one does the work.
    if (copies_in_flight_ < kChunksInFlight) {
      FilePiece piece{
          .file = file,
          .first = index,
          .count = 0,
          .bytes = Bytes(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(cut))};
      ++file->pending;
      ++copies_in_flight_;
      if (offer_(piece)) continue;
      --copies_in_flight_;
      --file->pending;
    }
    TRY_ASSIGN(const Id id, store_chunk(rest.first(cut), context));
    put_id(*file, index, id);
    stored_(cut);
  }
  file->size_bytes = offset;
  return end_piece(*file, context);
}

Status FileStore::store_piece(FilePiece piece, Bytes& buffer, StoreContext& context) {
  if (piece.count != 0) {
    TRY(store_range(*piece.file, piece.first, piece.count, buffer, context));
  } else {
    auto id = store_chunk(piece.bytes, context);
    --copies_in_flight_;
    if (!id.ok()) return id.error();
    put_id(*piece.file, piece.first, *id);
    stored_(piece.bytes.size());
  }
  return end_piece(*piece.file, context);
}

}  // namespace cairn::repository
