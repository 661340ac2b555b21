#include "repository/facts.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "repository/byte_stream.h"
#include "repository/limits.h"

namespace cairn::repository {

namespace {

// Block: u32 magic, u32 payload bytes, the first 8 bytes of the payload's SHA-256, payload.
constexpr std::uint32_t kBlockMagic = 0x32434146;  // "FAC2"
constexpr std::size_t kBlockHeadBytes = 16;
// Footer at the end of a saved file: index entries, then the trailer.
constexpr std::uint32_t kTrailerMagic = 0x31544146;  // "FAT1"
constexpr std::size_t kIndexEntryBytes = 16;
constexpr std::size_t kTrailerBytes = 4 + 4 + 8 + 32 + 32;
constexpr std::size_t kWriteBytes = std::size_t{1} << 20U;

struct IndexEntry {
  std::uint64_t key = 0;
  std::uint64_t offset = 0;
  auto operator<=>(const IndexEntry&) const = default;
};

std::uint64_t key_of(std::uint32_t root, const os::FileId& dir) {
  std::uint64_t hash = 0x9e3779b97f4a7c15ULL * (root + 1ULL);
  for (std::size_t i = 0; i < dir.bytes.size(); i += 8) {
    hash = (hash ^ load_le64(dir.bytes.data() + i)) * 0xff51afd7ed558ccdULL;
    hash ^= hash >> 32U;
  }
  return hash;
}

void put_time(ByteWriter& out, Timespec time) {
  out.number(static_cast<std::uint64_t>(time.seconds));
  out.number(time.nanoseconds);
}

Timespec get_time(ByteReader& in) {
  Timespec time;
  time.seconds = static_cast<std::int64_t>(in.number());
  time.nanoseconds = static_cast<std::uint32_t>(in.number());
  return time;
}

void put_fact(ByteWriter& out, const Fact& fact) {
  const Node& node = fact.node;
  out.text(node.name);
  out.number(static_cast<std::uint64_t>(node.type));
  out.number(node.mode);
  put_time(out, node.mtime);
  put_time(out, node.ctime);
  out.number(node.uid);
  out.number(node.gid);
  out.number(node.inode);
  out.number(node.device_id);
  out.number(node.size);
  out.number(node.links);
  out.number(node.device);
  out.text(node.link_target);
  out.number(node.xattrs.size());
  for (const os::Xattr& xattr : node.xattrs) {
    out.text(xattr.name);
    out.text(xattr.value);
  }
  out.number(node.content.size());
  for (const Id& id : node.content) out.bytes(id.bytes);
  if (node.type == NodeType::kDir) out.bytes(node.subtree.bytes);
  out.bytes(fact.id.bytes);
  out.number(fact.stat_bytes);
  out.number(fact.fixed_bytes);
  out.number(fact.settled ? 1 : 0);
  out.number(fact.xattrs_lost);
  out.number(fact.spooled);
}

Fact get_fact(ByteReader& in) {
  Fact fact;
  Node& node = fact.node;
  node.name = in.text();
  node.type = static_cast<NodeType>(in.at_most(static_cast<std::uint64_t>(NodeType::kIrregular)));
  node.mode = static_cast<std::uint32_t>(in.number());
  node.mtime = get_time(in);
  node.atime = node.mtime;
  node.ctime = get_time(in);
  node.uid = static_cast<std::uint32_t>(in.number());
  node.gid = static_cast<std::uint32_t>(in.number());
  node.inode = in.number();
  node.device_id = in.number();
  node.size = in.number();
  node.links = in.number();
  node.device = in.number();
  node.link_target = in.text();
  for (std::uint64_t left = in.count(2); left > 0; --left) {
    std::string name = in.text();
    node.xattrs.push_back({std::move(name), in.text()});
  }
  const std::uint64_t blobs = in.count(sizeof(Id));
  node.content.resize(blobs);
  for (Id& id : node.content) in.bytes(id.bytes);
  if (node.type == NodeType::kDir) in.bytes(node.subtree.bytes);
  in.bytes(fact.id.bytes);
  fact.stat_bytes = in.number();
  fact.fixed_bytes = static_cast<std::uint32_t>(in.number());
  fact.settled = in.number() != 0;
  fact.xattrs_lost = in.number();
  fact.spooled = static_cast<std::uint32_t>(in.number());
  return fact;
}

}  // namespace

const Fact* DirFacts::find(std::string_view name) const {
  const auto at = std::ranges::lower_bound(
      entries, name, {}, [](const Fact& one) -> std::string_view { return one.node.name; });
  return at != entries.end() && at->node.name == name ? &*at : nullptr;
}

struct FactsFile::State {
  os::Fd file;
  std::mutex mutex;  // of what put() writes
  Bytes buffer;      // not written yet, from `written` on
  std::uint64_t written = 0;
  std::vector<IndexEntry> index;  // sorted once sealed

  Status flush() {
    TRY(os::write_all_at(file, buffer, written));
    written += buffer.size();
    buffer.clear();
    return {};
  }
};

FactsFile::FactsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
FactsFile::FactsFile(FactsFile&&) noexcept = default;
FactsFile& FactsFile::operator=(FactsFile&&) noexcept = default;
FactsFile::~FactsFile() = default;

Result<FactsFile> FactsFile::create(const os::Dir& scratch) {
  auto state = std::make_unique<State>();
  TRY_ASSIGN(state->file, scratch.open_file(".", __O_TMPFILE | O_DIRECTORY | O_RDWR, 0600));
  return FactsFile(std::move(state));
}

Status FactsFile::put(std::uint32_t root, const os::FileId& dir, const DirFacts& facts) {
  ByteWriter out;
  out.number(root);
  out.bytes(dir.bytes);
  out.bytes(facts.tree.bytes);
  out.number(facts.entries.size());
  for (const Fact& fact : facts.entries) put_fact(out, fact);
  const Bytes& payload = out.content();
  if (payload.size() > kTreeBlobBytesMax) {
    return Error(Code::kInvalid, "a directory has more entries than can be stored");
  }
  std::array<std::byte, kBlockHeadBytes> head{};
  store_le32(head.data(), kBlockMagic);
  store_le32(head.data() + 4, static_cast<std::uint32_t>(payload.size()));
  std::memcpy(head.data() + 8, codec::sha256(payload).bytes.data(), 8);

  const std::scoped_lock lock(state_->mutex);
  state_->index.push_back({key_of(root, dir), state_->written + state_->buffer.size()});
  state_->buffer.insert(state_->buffer.end(), head.begin(), head.end());
  state_->buffer.insert(state_->buffer.end(), payload.begin(), payload.end());
  return state_->buffer.size() < kWriteBytes ? Status() : state_->flush();
}

Status FactsFile::seal() {
  TRY(state_->flush());
  std::sort(state_->index.begin(), state_->index.end());
  return {};
}

std::size_t FactsFile::directories() const {
  return state_->index.size();
}

Result<std::optional<DirFacts>> FactsFile::find(std::uint32_t root, const os::FileId& dir) const {
  const std::uint64_t key = key_of(root, dir);
  auto at = std::lower_bound(state_->index.begin(), state_->index.end(), IndexEntry{key, 0});
  for (; at != state_->index.end() && at->key == key; ++at) {
    std::array<std::byte, kBlockHeadBytes> head{};
    TRY_ASSIGN(std::size_t got, os::read_at(state_->file, head, at->offset));
    const std::uint32_t size = load_le32(head.data() + 4);
    if (got != head.size() || load_le32(head.data()) != kBlockMagic || size > kTreeBlobBytesMax) {
      return Error(Code::kCorrupt, "the facts of an earlier pass are damaged");
    }
    Bytes payload(size);
    TRY_ASSIGN(got, os::read_at(state_->file, payload, at->offset + head.size()));
    const Id sum = codec::sha256(payload);
    if (got != size || std::memcmp(head.data() + 8, sum.bytes.data(), 8) != 0) {
      return Error(Code::kCorrupt, "the facts of an earlier pass are damaged");
    }
    ByteReader in(payload);
    os::FileId id;
    const auto of_root = static_cast<std::uint32_t>(in.number());
    in.bytes(id.bytes);
    if (of_root != root || id != dir) continue;
    DirFacts facts;
    in.bytes(facts.tree.bytes);
    const std::uint64_t entries = in.count(1);
    facts.entries.reserve(entries);
    for (std::uint64_t i = 0; i < entries && in.ok(); ++i) {
      facts.entries.push_back(get_fact(in));
    }
    if (!in.ok()) return Error(Code::kCorrupt, "the facts of an earlier pass are malformed");
    return std::optional<DirFacts>(std::move(facts));
  }
  return std::optional<DirFacts>();
}

Status FactsFile::save(const os::Dir& dir, const std::string& name, const Id& owner) {
  Bytes footer(state_->index.size() * kIndexEntryBytes + kTrailerBytes);
  std::byte* at = footer.data();
  for (const IndexEntry& entry : state_->index) {
    store_le64(at, entry.key);
    store_le64(at + 8, entry.offset);
    at += kIndexEntryBytes;
  }
  const Id sum = codec::sha256(ByteView(footer).first(footer.size() - kTrailerBytes));
  store_le32(at, kTrailerMagic);
  store_le32(at + 4, 0);
  store_le64(at + 8, state_->index.size());
  std::memcpy(at + 16, owner.bytes.data(), owner.bytes.size());
  std::memcpy(at + 48, sum.bytes.data(), sum.bytes.size());
  TRY(os::write_all_at(state_->file, footer, state_->written));
  // There is a moment without either: the next capture reads everything then, as the first did.
  Status removed = dir.remove_file(name);
  if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  return dir.link_file(state_->file, name);
}

std::optional<FactsFile> FactsFile::load(const os::Dir& dir,
                                         const std::string& name,
                                         const Id& owner) {
  auto file = dir.open_file(name, O_RDWR);
  if (!file.ok()) return std::nullopt;
  const auto stat = os::stat_fd(*file);
  if (!stat.ok() || stat->type != os::FileType::kRegular || stat->size_bytes < kTrailerBytes) {
    return std::nullopt;
  }
  std::array<std::byte, kTrailerBytes> trailer{};
  const std::uint64_t trailer_at = stat->size_bytes - kTrailerBytes;
  const auto got = os::read_at(*file, trailer, trailer_at);
  if (!got.ok() || *got != trailer.size() || load_le32(trailer.data()) != kTrailerMagic ||
      std::memcmp(trailer.data() + 16, owner.bytes.data(), owner.bytes.size()) != 0) {
    return std::nullopt;
  }
  const std::uint64_t count = load_le64(trailer.data() + 8);
  if (count > trailer_at / kIndexEntryBytes) return std::nullopt;
  Bytes index(count * kIndexEntryBytes);
  const auto read = os::read_at(*file, index, trailer_at - index.size());
  const Id sum = codec::sha256(index);
  if (!read.ok() || *read != index.size() ||
      std::memcmp(trailer.data() + 48, sum.bytes.data(), sum.bytes.size()) != 0) {
    return std::nullopt;
  }
  auto state = std::make_unique<State>();
  state->file = std::move(*file);
  state->written = trailer_at - index.size();
  state->index.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* at = index.data() + i * kIndexEntryBytes;
    state->index[i] = {load_le64(at), load_le64(at + 8)};
  }
  if (!std::is_sorted(state->index.begin(), state->index.end())) return std::nullopt;
  return FactsFile(std::move(state));
}

}  // namespace cairn::repository
