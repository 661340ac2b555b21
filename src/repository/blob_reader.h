// BlobReader: loads and verifies blobs, with its own cipher and compression contexts. One thread
// at a time, make one a thread. The repository must outlive it.
#pragma once

#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/compressor.h"
#include "codec/crypto.h"
#include "repository/pack.h"
#include "repository/repository.h"
#include "repository/tree.h"

namespace cairn::repository {

class BlobReader {
 public:
  explicit BlobReader(Repository& repository);

  // kNotFound: not in the index. kCorrupt: every place it is said to lie at is damaged.
  Result<Bytes> load(BlobType type, const Id& id);
  // A directory's entries. kCorrupt where they are missing, damaged or malformed.
  Result<std::vector<Node>> load_tree(const Id& id);
  // Opens one blob out of sealed bytes that were read from its pack; plain then holds it, verified.
  Status open(const PackedBlob& blob, ByteView sealed, Bytes& plain);
  // The same without copies, and without a look at the id, which is the caller's to check: plain is
  // plain_size(blob) bytes long, sealed is used up.
  Status open_into(const PackedBlob& blob, std::span<std::byte> sealed, std::span<std::byte> plain);

 private:
  Repository& repository_;
  codec::Box box_;
  codec::Compressor compressor_;
  Bytes frame_;
};

// kCorrupt where a blob claims to be larger than any we accept.
Status check_blob_size(const PackedBlob& blob);

}  // namespace cairn::repository
