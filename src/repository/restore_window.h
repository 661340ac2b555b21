// RestoreWindow: a bounded set of files that several threads write, each a batch of blobs at a
// time: what a batch needs is read pack by pack, in few large reads, and written in the files'
// order, in few large writes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "os/dir.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/repository.h"
#include "repository/sync_ahead.h"
#include "repository/tree.h"

namespace cairn::repository {

// A directory while entries below it are written. pending counts what is not done, and one for the
// walk; who takes it to zero writes the directory's own metadata, last.
struct RestoreDir {
  std::shared_ptr<RestoreDir> parent;
  os::Dir dir;
  Node node;  // of the directory itself
  std::atomic<std::size_t> pending = 1;

  RestoreDir(std::shared_ptr<RestoreDir> parent_dir, os::Dir open_dir, Node own_node)
      : parent(std::move(parent_dir)), dir(std::move(open_dir)), node(std::move(own_node)) {}
  ~RestoreDir();
  RestoreDir(const RestoreDir&) = delete;
  RestoreDir& operator=(const RestoreDir&) = delete;
};

// One thing of dir is done.
Status release(std::shared_ptr<RestoreDir> dir);

// A regular file that is being written. It may outlive a window when it has many blobs.
struct RestoreFile {
  std::shared_ptr<RestoreDir> dir;
  Node node;  // content is empty here
  std::mutex mutex;
  os::Fd fd;                             // opened at the first write; guarded by mutex
  std::atomic<std::size_t> pending = 0;  // blobs
  bool sized = false;                    // its length is set before its blobs are written
};

// Creates the file unless it is open; never follows or replaces anything.
Status open_new(RestoreFile& file);
// All blobs are written: metadata, and one thing less for the directory.
Status finish(RestoreFile& file);

// One thread at a time; run() uses threads of its own.
class RestoreWindow {
 public:
  RestoreWindow(Repository& repository, SyncAhead& sync_ahead)
      : repository_(repository), sync_ahead_(sync_ahead) {}

  // file gets the blob's content at offset.
  void add(const std::shared_ptr<RestoreFile>& file,
           const BlobIndex::Location& location,
           std::uint64_t offset);
  // A file without content.
  void add_empty(const std::shared_ptr<RestoreFile>& file) { empty_.push_back(file); }

  [[nodiscard]] std::size_t blobs() const { return needs_.size(); }
  [[nodiscard]] bool empty() const { return needs_.empty() && empty_.empty(); }

  // Reads, verifies and writes everything. wrote is told about bytes, from any thread.
  Status run(const std::stop_token& stop, const std::function<void(std::uint64_t)>& wrote);

 private:
  struct Need {
    Id pack;
    PackedBlob blob;
    std::shared_ptr<RestoreFile> file;
    std::uint64_t offset;
    std::size_t sealed_at = 0;  // in its worker's sealed bytes
    std::size_t plain_at = 0;   // in its worker's plain bytes
  };
  // Neighbours in one pack.
  struct Range {
    Id pack;
    std::uint64_t begin = 0;  // in the pack
    std::uint64_t end = 0;
    std::size_t at = 0;  // in the worker's sealed bytes
    [[nodiscard]] std::size_t size() const { return end - begin; }
  };

  // What one thread needs: a batch's sealed bytes, and the plain ones of a part of it.
  struct Worker {
    explicit Worker(Repository& repository) : reader(repository) {}
    BlobReader reader;
    std::vector<Need*> by_pack;  // of the batch
    Bytes sealed;
    Bytes plain;
    std::vector<const Need*> opened;  // of the part: each blob once
    std::vector<ByteView> contents;   // what they opened to
    std::vector<Id> ids;              // what that is
  };

  // needs_ in their order, cut into what one thread does at a time.
  std::vector<std::span<Need>> batches();
  static std::vector<Range> plan(std::span<Need> batch, std::vector<Need*>& by_pack);
  Status restore_batch(std::span<Need> batch,
                       Worker& worker,
                       const std::function<void(std::uint64_t)>& wrote);
  // Fills worker.plain with what the needs of a part are of, verified.
  static Status open_part(std::span<Need> part, Worker& worker);
  Status write_part(std::span<Need> part, ByteView plain);
  // Writes needs that follow each other in one file.
  Status write_run(std::span<Need> run, ByteView content);

  Repository& repository_;
  SyncAhead& sync_ahead_;
  std::vector<Need> needs_;
  std::vector<std::shared_ptr<RestoreFile>> empty_;
};

}  // namespace cairn::repository
