// BlobWriter: stores blobs that the repository does not have yet, packed, sealed and hashed by the
// calling threads, written by one of its own. Memory: two open packs, one in each caller's hands,
// kPacksInFlight on their way to the backend; about 60 bytes a blob that no index file names yet,
// of which there are kIndexBlobsTarget and a pack's at most.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/compressor.h"
#include "codec/crypto.h"
#include "parallel/bounded_queue.h"
#include "parallel/guarded.h"
#include "parallel/task_group.h"
#include "repository/blob_index.h"
#include "repository/limits.h"
#include "repository/pack.h"
#include "repository/repository.h"

namespace cairn::repository {

// What a thread needs to store blobs; make one a thread.
struct StoreContext {
  explicit StoreContext(const codec::BoxKey& key) : box(key) {}
  codec::Box box;
  codec::Compressor compressor;
  Bytes tree;                    // the frame of a tree
  Bytes sealed;                  // never shrinks
  std::vector<ByteView> chunks;  // that are hashed together
  std::vector<Id> ids;           // theirs
  std::size_t zero_bytes = 0;    // the length whose all-zero blob is zero_id; 0: none yet
  Id zero_id;
};

// store(), store_zeros(), has() and copy_sealed() are thread-safe, the rest belongs to one thread.
// A writer that is dropped without finish() takes back what no index file names.
class BlobWriter {
 public:
  BlobWriter(Repository& repository, const std::stop_token& stop);
  ~BlobWriter();

  // Stores plain unless it is known already. Its id.
  Result<Id> store(BlobType type, ByteView plain, StoreContext& context);
  // The same for a caller who knows its id.
  Status store(BlobType type, const Id& id, ByteView plain, StoreContext& context);
  // The id of that many zero bytes, stored if need be.
  Result<Id> store_zeros(std::size_t size_bytes, StoreContext& context);
  // True where the blob is in the index or was stored by this writer.
  bool has(BlobType type, const Id& id);
  // Takes a blob as it lies in another pack, sealed, without opening it.
  Status copy_sealed(const PackedBlob& blob, ByteView sealed, StoreContext& context);

  // Waits until every pack that is full is with the backend: nothing is being written then. Where
  // one was not taken, what the backend said.
  Status drain();

  // Hands over what is left and waits until the backend took all. The packs that no index file
  // names yet; durable after Backend::flush().
  Result<std::vector<IndexedPack>> finish();

  // After store() failed: stops, and tells what the backend said, where that was the reason.
  Status failure();

  [[nodiscard]] std::uint64_t bytes_added() const { return bytes_added_; }
  [[nodiscard]] std::uint64_t blobs_added() const { return blobs_added_; }

 private:
  struct Open {
    std::mutex mutex;
    PackBuilder builder;
  };

  bool claim(BlobType type, const Id& id);
  Status write_index();
  PackBuilder new_builder();
  Status append(const PackedBlob& blob, ByteView sealed, codec::Box& box);
  Status hand_over(PackBuilder builder, codec::Box& box);
  Error why_stopped();
  Status write_packs();
  Status write_pack(PackBuilder::Finished next, std::size_t& blobs);

  Repository& repository_;
  // What needs no storing: the index, anew with each index file of this writer, and what is claimed
  // and in none yet.
  parallel::Guarded<std::shared_ptr<const BlobIndex>> known_;
  Open open_[2];  // by BlobType
  parallel::Guarded<std::unordered_set<Id, codec::IdHash>> claimed_[2];
  std::atomic<std::uint64_t> bytes_added_ = 0;
  std::atomic<std::uint64_t> blobs_added_ = 0;
  parallel::Guarded<std::vector<Bytes>> spare_;  // buffers of packs that were written
  parallel::BoundedQueue<PackBuilder::Finished> finished_;
  struct Flow {
    std::size_t in_flight = 0;  // packs handed over and not with the backend yet
    bool ended = false;         // the writing thread
    std::optional<Error> why;   // it ended before all was written
  };
  parallel::Guarded<Flow> flow_;
  std::condition_variable flow_changed_;
  std::vector<IndexedPack> written_;  // of the writing thread until it ends
  parallel::TaskGroup writer_;
};

}  // namespace cairn::repository
