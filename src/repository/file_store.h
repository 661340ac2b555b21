// FileStore: cuts open files into blobs and stores them, large files by several threads at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "os/dir.h"
#include "repository/blob_writer.h"
#include "repository/snapshot.h"

namespace cairn::repository {

// One file while its pieces are stored. The last piece to end calls done, once, with content and
// size_bytes as they were read.
struct OpenFile {
  os::Fd fd;
  os::Stat stat;                      // from before the first byte was read
  std::uint64_t offset = 0;           // where the content begins in fd: not 0 in a spool
  std::uint64_t directory_bytes = 0;  // of all files in its directory
  std::function<Status(OpenFile&, StoreContext&)> done;

  std::vector<Id> content;
  std::uint64_t size_bytes = 0;

  // While it is stored.
  std::mutex mutex;  // of content and size_bytes
  std::atomic<std::size_t> pending = 1;
  std::size_t fixed_bytes = 0;  // 0: cut by content
  bool has_holes = false;
};

// A part of a file that any thread may store.
struct FilePiece {
  std::shared_ptr<OpenFile> file;
  std::size_t first = 0;  // chunk number
  std::size_t count = 0;  // fixed chunks to read; 0: bytes hold one chunk
  Bytes bytes;
};

// Opens a regular file without changing its atime where that is allowed. An invalid descriptor:
// it is gone, or is no regular file any more.
struct ReadableFile {
  os::Fd fd;
  os::Stat stat;
};
Result<ReadableFile> open_to_read(const os::Dir& dir, const std::string& name);

// Thread-safe; buffers and contexts belong to the calling thread.
class FileStore {
 public:
  // offer: hands a piece to another thread now, or leaves it and says false. stored: so many more
  // bytes are read and stored; both are called from any thread.
  FileStore(BlobWriter& writer,
            std::function<bool(FilePiece&)> offer,
            std::function<void(std::uint64_t)> stored)
      : writer_(writer), offer_(std::move(offer)), stored_(std::move(stored)) {}

  Status store(const std::shared_ptr<OpenFile>& file, Bytes& buffer, StoreContext& context);
  Status store_piece(FilePiece piece, Bytes& buffer, StoreContext& context);

 private:
  Status store_fixed(const std::shared_ptr<OpenFile>& file, Bytes& buffer, StoreContext& context);
  Status store_by_content(const std::shared_ptr<OpenFile>& file,
                          Bytes& buffer,
                          StoreContext& context);
  Status store_range(
      OpenFile& file, std::size_t first, std::size_t count, Bytes& buffer, StoreContext& context);
  Status store_step(OpenFile& file,
                    std::uint64_t begin,
                    std::size_t length,
                    Bytes& buffer,
                    StoreContext& context);
  Result<Id> store_chunk(ByteView chunk, StoreContext& context);
  static Status end_piece(OpenFile& file, StoreContext& context);

  BlobWriter& writer_;
  const std::function<bool(FilePiece&)> offer_;
  const std::function<void(std::uint64_t)> stored_;
  std::atomic<std::size_t> copies_in_flight_ = 0;
};

}  // namespace cairn::repository
