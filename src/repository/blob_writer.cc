#include "repository/blob_writer.h"

#include <optional>
#include <utility>

#include "repository/backend/backend.h"

namespace cairn::repository {

BlobWriter::BlobWriter(Repository& repository, const std::stop_token& stop)
    : repository_(repository),
      known_(repository.index()),
      finished_(kPacksInFlight),
      writer_(stop, [this] { finished_.close(); }) {
  writer_.run([this](const std::stop_token&) { return write_packs(); });
}

BlobWriter::~BlobWriter() {
  finished_.close();
  // How it ended was told by finish() or failure(), or nobody asks.
  (void)writer_.wait();
  repository_.take_back(written_);
}

// The thread that writes. Index files of full size are saved on the way, so that an interrupted
// store of a large tree need not be repeated and no list grows without bound.
Status BlobWriter::write_packs() {
  std::size_t blobs = 0;
  Status status;
  while (status.ok()) {
    auto next = finished_.pop();
    if (!next) break;
    status = write_pack(std::move(*next), blobs);
    auto flow = flow_.lock();
    --flow->in_flight;
    if (!status.ok()) flow->why = status.error();
    flow_changed_.notify_all();
  }
  flow_.lock()->ended = true;
  flow_changed_.notify_all();
  return status;
}

// Of those that meet an ended writer: what it met, or that somebody asked it to stop.
Error BlobWriter::why_stopped() {
  return flow_.lock()->why.value_or(Error(Code::kCancelled, "storing was stopped"));
}

Status BlobWriter::write_pack(PackBuilder::Finished next, std::size_t& blobs) {
  TRY(repository_.backend().save_later(FileKind::kPack, next.pack.id.hex(), next.content));
  bytes_added_ += next.content.size();
  spare_.lock()->push_back(std::move(next.content));
  blobs += next.pack.blobs.size();
  written_.push_back(std::move(next.pack));
  if (blobs < kIndexBlobsTarget) return {};
  TRY(write_index());
  blobs = 0;
  return {};
}

Status BlobWriter::write_index() {
  TRY(repository_.backend().flush());
  const std::vector<IndexedPack> packs = std::exchange(written_, {});
  TRY(repository_.save_index(packs));
  // In this order, so that a blob is in one of them at every moment.
  *known_.lock() = repository_.index();
  for (const IndexedPack& pack : packs) {
    for (const PackedBlob& blob : pack.blobs) claimed_[slot(blob.type)].lock()->erase(blob.id);
  }
  return {};
}

Status BlobWriter::drain() {
  {
    auto flow = flow_.lock();
    flow.wait(flow_changed_, [](const Flow& now) { return now.in_flight == 0 || now.ended; });
    if (flow->in_flight == 0 && !flow->why) return {};
  }
  return why_stopped();
}

bool BlobWriter::has(BlobType type, const Id& id) {
  if (claimed_[slot(type)].lock()->contains(id)) return true;
  const std::shared_ptr<const BlobIndex> known = *known_.lock();
  return known->has(type, id);
}

bool BlobWriter::claim(BlobType type, const Id& id) {
  const std::shared_ptr<const BlobIndex> known = *known_.lock();
  if (known->has(type, id)) return false;
  auto claimed = claimed_[slot(type)].lock();
  // What went into an index file meanwhile is not claimed any more.
  const std::shared_ptr<const BlobIndex> now = *known_.lock();
  if (now != known && now->has(type, id)) return false;
  return claimed->insert(id).second;
}

PackBuilder BlobWriter::new_builder() {
  Bytes buffer;
  {
    auto spare = spare_.lock();
    if (!spare->empty()) {
      buffer = std::move(spare->back());
      spare->pop_back();
    }
  }
  return PackBuilder(std::move(buffer));
}

Status BlobWriter::hand_over(PackBuilder builder, codec::Box& box) {
  ++flow_.lock()->in_flight;
  if (finished_.push(std::move(builder).finish(box))) return {};
  --flow_.lock()->in_flight;
  return why_stopped();
}

Status BlobWriter::append(const PackedBlob& blob, ByteView sealed, codec::Box& box) {
  Open& open = open_[slot(blob.type)];
  std::optional<PackBuilder> full;
  {
    const std::scoped_lock lock(open.mutex);
    open.builder.add(blob, sealed);
    const bool is_full =
        open.builder.size_bytes() >= kPackBytesTarget || open.builder.blobs() >= kPackBlobsMax;
    if (!is_full) return {};
    full = std::exchange(open.builder, new_builder());
  }
  return hand_over(std::move(*full), box);
}

Result<Id> BlobWriter::store(BlobType type, ByteView plain, StoreContext& context) {
  const Id id = codec::sha256(plain);
  TRY(store(type, id, plain, context));
  return id;
}

Status BlobWriter::store(BlobType type, const Id& id, ByteView plain, StoreContext& context) {
  if (!claim(type, id)) return {};
  PackedBlob blob{.id = id, .type = type};
  ByteView stored = plain;
  if (type == BlobType::kTree) {
    context.compressor.compress_always(plain, codec::Effort::kThorough, context.tree);
    stored = context.tree;
  } else if (const auto frame = context.compressor.compress(plain)) {
    stored = *frame;
  }
  if (stored.data() != plain.data()) blob.plain_bytes = static_cast<std::uint32_t>(plain.size());
  const std::size_t sealed_bytes = stored.size() + codec::kBoxOverheadBytes;
  if (context.sealed.size() < sealed_bytes) context.sealed.resize(sealed_bytes);
  const std::span<std::byte> sealed = std::span(context.sealed).first(sealed_bytes);
  context.box.seal_into(stored, sealed);
  ++blobs_added_;
  return append(blob, sealed, context.box);
}

Result<Id> BlobWriter::store_zeros(std::size_t size_bytes, StoreContext& context) {
  if (context.zero_bytes == size_bytes) return context.zero_id;
  TRY_ASSIGN(context.zero_id, store(BlobType::kData, Bytes(size_bytes), context));
  context.zero_bytes = size_bytes;
  return context.zero_id;
}

Status BlobWriter::copy_sealed(const PackedBlob& blob, ByteView sealed, StoreContext& context) {
  if (!claimed_[slot(blob.type)].lock()->insert(blob.id).second) return {};
  return append(blob, sealed, context.box);
}

Status BlobWriter::failure() {
  finished_.close();
  return writer_.wait();
}

Result<std::vector<IndexedPack>> BlobWriter::finish() {
  codec::Box box(repository_.master_key());
  for (Open& open : open_) {
    if (open.builder.empty()) continue;
    const Status handed = hand_over(std::move(open.builder), box);
    if (!handed.ok()) {
      TRY(failure());
      return handed.error();
    }
  }
  finished_.close();
  TRY(writer_.wait());
  // Whoever commits may need room for an index of everything.
  spare_.lock()->clear();
  for (auto& claimed : claimed_) *claimed.lock() = {};
  return std::move(written_);
}

}  // namespace cairn::repository
