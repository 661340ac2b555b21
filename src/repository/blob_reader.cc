#include "repository/blob_reader.h"

#include <algorithm>

#include "repository/backend/backend.h"
#include "repository/blob_index.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

std::string blob_name(BlobType type, const Id& id) {
  return (type == BlobType::kTree ? "tree " : "blob ") + id.hex().substr(0, 8);
}

}  // namespace

Status check_blob_size(const PackedBlob& blob) {
  const std::size_t max = blob.type == BlobType::kTree ? kTreeBlobBytesMax : kDataBlobBytesMax;
  if (plain_size(blob) > max || blob.length > max + max / 8) {
    return Error(Code::kCorrupt, blob_name(blob.type, blob.id) + " is larger than allowed");
  }
  return {};
}

BlobReader::BlobReader(Repository& repository)
    : repository_(repository), box_(repository.master_key()) {}

Status BlobReader::open(const PackedBlob& blob, ByteView sealed, Bytes& plain) {
  const std::string_view what = blob.type == BlobType::kTree ? "tree" : "blob";
  if (blob.plain_bytes == 0) {
    TRY_CONTEXT(box_.open(sealed, plain), what);
  } else {
    TRY_CONTEXT(box_.open(sealed, frame_), what);
    TRY_CONTEXT(compressor_.decompress(frame_, blob.plain_bytes, plain), what);
  }
  if (codec::sha256(plain) != blob.id) {
    return Error(Code::kCorrupt, blob_name(blob.type, blob.id) + " is not what its id says");
  }
  return {};
}

Status BlobReader::open_into(const PackedBlob& blob,
                             std::span<std::byte> sealed,
                             std::span<std::byte> plain) {
  CHECK(plain.size() == plain_size(blob));
  auto opened = box_.open_in_place(sealed);
  if (!opened.ok()) return opened.error().with_context(blob_name(blob.type, blob.id));
  if (blob.plain_bytes == 0) {
    std::copy(opened->begin(), opened->end(), plain.begin());
  } else {
    TRY_CONTEXT(compressor_.decompress_into(*opened, plain), blob_name(blob.type, blob.id));
  }
  return {};
}

Result<Bytes> BlobReader::load(BlobType type, const Id& id) {
  const auto places = repository_.index()->find_all(type, id);
  Error last(Code::kNotFound, blob_name(type, id) + " is not in the index");
  for (const BlobIndex::Location& place : places) {
    TRY(check_blob_size(place.blob));
    Bytes sealed(place.blob.length);
    Status status = repository_.backend().load_range(FileKind::kPack, place.pack.hex(),
                                                     place.blob.offset, sealed);
    Bytes plain;
    if (status.ok()) status = open(place.blob, sealed, plain);
    if (status.ok()) return plain;
    last = status.error().with_context("pack " + place.pack.hex().substr(0, 8));
    if (last.code() == Code::kNotFound) last = last.with_code(Code::kCorrupt);
  }
  return last;
}

Result<std::vector<Node>> BlobReader::load_tree(const Id& id) {
  auto json = load(BlobType::kTree, id);
  // Somebody names this tree: that it is missing is damage.
  if (!json.ok() && json.error().code() == Code::kNotFound) {
    return json.error().with_code(Code::kCorrupt);
  }
  if (!json.ok()) return json.error();
  auto nodes = parse_tree(as_text(*json));
  if (!nodes.ok()) return nodes.error().with_context("tree " + id.hex().substr(0, 8));
  return nodes;
}

}  // namespace cairn::repository
