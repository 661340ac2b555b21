#include "repository/facts.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
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
constexpr std::size_t kWindowBytes = std::size_t{16} * 1024;  // what is read at once of blocks
constexpr std::size_t kTrailerBytes = 4 + 4 + 8 + 32 + 32;
constexpr std::size_t kWriteBytes = std::size_t{1} << 20U;

struct IndexEntry {
  std::uint64_t key = 0;
  std::uint64_t offset = 0;
  std::uint32_t source = 0;  // which of the open files
  bool whole = false;
};
static_assert(sizeof(IndexEntry) == 24);

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

// fact: a new one.
void get_fact(ByteReader& in, Fact& fact) {
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
}

}  // namespace

const Fact* DirFacts::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(
      entries, name, {}, [](const Fact& one) -> std::string_view { return one.node.name; });
  return found != entries.end() && found->node.name == name ? &*found : nullptr;
}

Beneath& Beneath::operator+=(const Beneath& other) {
  bytes += other.bytes;
  files += other.files;
  dirs += other.dirs;
  xattrs_lost += other.xattrs_lost;
  return *this;
}

// One open file with blocks. What is written stays as it is.
struct FactsBlocks {
  os::Fd file;
  std::optional<Id> owner;      // of a file with a name
  std::size_t directories = 0;  // of a file with a name
};

namespace {

Result<Bytes> encode_block(std::uint32_t root, const os::FileId& dir, const DirFacts& facts) {
  ByteWriter out;
  out.number(root);
  out.bytes(dir.bytes);
  out.bytes(facts.tree.bytes);
  out.number(facts.beneath.bytes);
  out.number(facts.beneath.files);
  out.number(facts.beneath.dirs);
  out.number(facts.beneath.xattrs_lost);
  out.number(facts.entries.size());
  for (const Fact& fact : facts.entries) put_fact(out, fact);
  const Bytes& payload = out.content();
  if (payload.size() > kTreeBlobBytesMax) {
    return Error(Code::kInvalid, "a directory has more entries than can be stored");
  }
  Bytes block(kBlockHeadBytes);
  store_le32(block.data(), kBlockMagic);
  store_le32(block.data() + 4, static_cast<std::uint32_t>(payload.size()));
  std::memcpy(block.data() + 8, codec::sha256(payload).bytes.data(), 8);
  block.insert(block.end(), payload.begin(), payload.end());
  return block;
}

// A part of a file with blocks: directories are asked for about in the order in which they lie.
class BlockWindow {
 public:
  [[nodiscard]] bool begins_in(const FactsBlocks& blocks, std::uint64_t offset) const {
    return of_ == &blocks && offset >= offset_ && offset - offset_ < bytes_.size();
  }
  // The whole block, its sum checked; until the next call. blocks must outlive the window.
  Result<ByteView> block(const FactsBlocks& blocks, std::uint64_t offset);
  // Gives back what a long block took.
  void shrink() {
    if (bytes_.size() > kWindowBytes) *this = {};
  }

 private:
  [[nodiscard]] ByteView from(std::uint64_t offset) const {
    return ByteView(bytes_).subspan(offset - offset_);
  }
  Status load(const FactsBlocks& blocks, std::uint64_t offset, std::size_t size);

  const FactsBlocks* of_ = nullptr;
  std::uint64_t offset_ = 0;
  Bytes bytes_;
};

Status BlockWindow::load(const FactsBlocks& blocks, std::uint64_t offset, std::size_t size) {
  of_ = nullptr;
  bytes_.resize(size);
  TRY_ASSIGN(const std::size_t got, os::read_at(blocks.file, bytes_, offset));
  bytes_.resize(got);
  of_ = &blocks;
  offset_ = offset;
  return {};
}

Result<ByteView> BlockWindow::block(const FactsBlocks& blocks, std::uint64_t offset) {
  const Error damaged(Code::kCorrupt, "the facts of an earlier pass are damaged");
  if (!begins_in(blocks, offset) || from(offset).size() < kBlockHeadBytes) {
    TRY(load(blocks, offset, kWindowBytes));
  }
  ByteView all = from(offset);
  if (all.size() < kBlockHeadBytes || load_le32(all.data()) != kBlockMagic) return damaged;
  const std::uint32_t size = load_le32(all.data() + 4);
  if (size > kTreeBlobBytesMax) return damaged;
  if (all.size() < kBlockHeadBytes + size) {
    TRY(load(blocks, offset, std::max(kWindowBytes, kBlockHeadBytes + size)));
    all = from(offset);
    if (all.size() < kBlockHeadBytes + size) return damaged;
  }
  const ByteView block = all.first(kBlockHeadBytes + size);
  const Id sum = codec::sha256(block.subspan(kBlockHeadBytes));
  if (std::memcmp(block.data() + 8, sum.bytes.data(), 8) != 0) return damaged;
  return block;
}

}  // namespace

struct FactsFile::State {
  std::mutex mutex;                                   // of what put() and its like write
  std::vector<std::shared_ptr<FactsBlocks>> sources;  // the first is our own
  Bytes buffer;                                       // not written yet, from `written` on
  std::uint64_t written = 0;
  std::vector<IndexEntry> index;     // sorted once sealed, and what was inherited is
  std::mutex windows_mutex;          // of windows
  std::vector<BlockWindow> windows;  // those that nobody reads by; of the sources

  BlockWindow take_window(const FactsBlocks& blocks, std::uint64_t offset);
  void give_back(BlockWindow window);

  // Where the block will lie in our own file.
  Result<std::uint64_t> append(ByteView block) {
    const std::uint64_t offset = written + buffer.size();
    buffer.insert(buffer.end(), block.begin(), block.end());
    if (buffer.size() >= kWriteBytes) TRY(flush());
    return offset;
  }
  Status flush() {
    TRY(os::write_all_at(sources[0]->file, buffer, written));
    written += buffer.size();
    buffer.clear();
    return {};
  }
  std::uint32_t source_of(const std::shared_ptr<FactsBlocks>& block) {
    const auto number = std::ranges::find(sources, block) - sources.begin();
    if (number == std::ssize(sources)) sources.push_back(block);
    return static_cast<std::uint32_t>(number);
  }
  // The entries with that key.
  [[nodiscard]] std::ranges::subrange<std::vector<IndexEntry>::iterator> entries_of(
      std::uint64_t key) {
    return std::ranges::equal_range(index, key, {}, &IndexEntry::key);
  }
  Status bring_home();
};

// One that begins there already, if there is one.
BlockWindow FactsFile::State::take_window(const FactsBlocks& blocks, std::uint64_t offset) {
  const std::scoped_lock lock(windows_mutex);
  if (windows.empty()) return {};
  const auto fits = std::ranges::find_if(
      windows, [&](const BlockWindow& window) { return window.begins_in(blocks, offset); });
  if (fits != windows.end()) std::swap(*fits, windows.back());
  BlockWindow window = std::move(windows.back());
  windows.pop_back();
  return window;
}

void FactsFile::State::give_back(BlockWindow window) {
  window.shrink();
  const std::scoped_lock lock(windows_mutex);
  windows.push_back(std::move(window));
}

FactsFile::FactsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
FactsFile::FactsFile(FactsFile&&) noexcept = default;
FactsFile& FactsFile::operator=(FactsFile&&) noexcept = default;
FactsFile::~FactsFile() = default;

Result<FactsFile> FactsFile::create(const os::Dir& scratch) {
  auto state = std::make_unique<State>();
  auto own = std::make_shared<FactsBlocks>();
  TRY_ASSIGN(own->file, scratch.open_file(".", __O_TMPFILE | O_DIRECTORY | O_RDWR, 0600));
  state->sources.push_back(std::move(own));
  return FactsFile(std::move(state));
}

Status FactsFile::put(std::uint32_t root, const os::FileId& dir, const DirFacts& facts) {
  TRY_ASSIGN(const Bytes block, encode_block(root, dir, facts));
  const std::scoped_lock lock(state_->mutex);
  TRY_ASSIGN(const std::uint64_t offset, state_->append(block));
  state_->index.push_back({.key = key_of(root, dir), .offset = offset});
  return {};
}

void FactsFile::put_same(std::uint32_t root,
                         const os::FileId& dir,
                         const FactsPlace& place,
                         bool whole) {
  const std::scoped_lock lock(state_->mutex);
  state_->index.push_back({.key = key_of(root, dir),
                           .offset = place.offset,
                           .source = state_->source_of(place.in),
                           .whole = whole});
}

void FactsFile::inherit(const FactsFile& from) {
  CHECK(state_->index.empty());
  state_->sources.insert(state_->sources.end(), from.state_->sources.begin(),
                         from.state_->sources.end());
  state_->index = from.state_->index;
  for (IndexEntry& entry : state_->index) ++entry.source;
}

Status FactsFile::replace(std::uint32_t root, const os::FileId& dir, const DirFacts& facts) {
  TRY_ASSIGN(const Bytes block, encode_block(root, dir, facts));
  const std::scoped_lock lock(state_->mutex);
  const std::uint32_t source = state_->source_of(facts.at.in);
  for (IndexEntry& entry : state_->entries_of(key_of(root, dir))) {
    if (entry.source != source || entry.offset != facts.at.offset) continue;
    TRY_ASSIGN(entry.offset, state_->append(block));
    entry.source = 0;
    break;
  }
  return {};
}

Status FactsFile::seal() {
  TRY(state_->flush());
  std::ranges::sort(state_->index, {}, &IndexEntry::key);
  return {};
}

std::size_t FactsFile::directories() const {
  return state_->index.size();
}

namespace {

// False where the block is another directory's, whose key is the same.
Result<bool> get_directory(ByteView block,
                           std::uint32_t root,
                           const os::FileId& dir,
                           DirFacts& facts) {
  ByteReader in(block.subspan(kBlockHeadBytes));
  os::FileId id;
  const auto of_root = static_cast<std::uint32_t>(in.number());
  in.bytes(id.bytes);
  if (of_root != root || id != dir) return false;
  in.bytes(facts.tree.bytes);
  facts.beneath.bytes = in.number();
  facts.beneath.files = in.number();
  facts.beneath.dirs = in.number();
  facts.beneath.xattrs_lost = in.number();
  const std::uint64_t entries = in.count(1);
  facts.entries.reserve(entries);
  for (std::uint64_t i = 0; i < entries && in.ok(); ++i) {
    get_fact(in, facts.entries.emplace_back());
  }
  if (!in.ok()) return Error(Code::kCorrupt, "the facts of an earlier pass are malformed");
  return true;
}

}  // namespace

Result<std::optional<DirFacts>> FactsFile::find(std::uint32_t root, const os::FileId& dir) const {
  for (const IndexEntry& entry : state_->entries_of(key_of(root, dir))) {
    std::optional<DirFacts> facts(std::in_place);
    facts->at = {.in = state_->sources[entry.source], .offset = entry.offset};
    facts->whole = entry.whole;
    BlockWindow window = state_->take_window(*facts->at.in, entry.offset);
    const auto block = window.block(*facts->at.in, entry.offset);
    const Result<bool> is_it =
        block.ok() ? get_directory(*block, root, dir, *facts) : Result<bool>(block.error());
    state_->give_back(std::move(window));
    if (!is_it.ok()) return is_it.error();
    if (*is_it) return facts;
  }
  return std::optional<DirFacts>();
}

// Copies what lies in other files into our own, in their order.
Status FactsFile::State::bring_home() {
  std::vector<IndexEntry*> away;
  BlockWindow window;
  for (IndexEntry& entry : index) {
    if (entry.source != 0) away.push_back(&entry);
  }
  std::ranges::sort(
      away, {}, [](const IndexEntry* entry) { return std::pair(entry->source, entry->offset); });
  for (IndexEntry* entry : away) {
    TRY_ASSIGN(const ByteView block, window.block(*sources[entry->source], entry->offset));
    TRY_ASSIGN(entry->offset, append(block));
    entry->source = 0;
  }
  return flush();
}

Status FactsFile::save(const os::Dir& dir, const std::string& name, const Id& owner) {
  // Nothing of our own, and all that the one file has: it is the one that has the name.
  const bool same =
      !state_->index.empty() && std::ranges::all_of(state_->index, [&](const auto& e) {
        const FactsBlocks& first = *state_->sources[state_->index[0].source];
        return e.source == state_->index[0].source && first.owner == owner &&
               first.directories == state_->index.size();
      });
  if (same) return {};
  TRY(state_->bring_home());
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
  TRY(os::write_all_at(state_->sources[0]->file, footer, state_->written));
  // There is a moment without either: the next capture reads everything then, as the first did.
  Status removed = dir.remove_file(name);
  if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  return dir.link_file(state_->sources[0]->file, name);
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
  auto own = std::make_shared<FactsBlocks>();
  own->file = std::move(*file);
  own->owner = owner;
  own->directories = count;
  state->sources.push_back(std::move(own));
  state->written = trailer_at - index.size();
  state->index.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* at = index.data() + i * kIndexEntryBytes;
    state->index[i] = {.key = load_le64(at), .offset = load_le64(at + 8)};
  }
  if (!std::ranges::is_sorted(state->index, {}, &IndexEntry::key)) return std::nullopt;
  return FactsFile(std::move(state));
}

}  // namespace cairn::repository
