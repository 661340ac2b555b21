#include "repository/repository.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/strings.h"
#include "codec/compressor.h"
#include "os/fault.h"
#include "parallel/guarded.h"
#include "repository/archive.h"
#include "repository/backend/backend.h"
#include "repository/backend/local.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/config.h"
#include "repository/key.h"
#include "repository/limits.h"
#include "repository/lock.h"

namespace cairn::repository {

namespace {

constexpr std::byte kCompressedMark{2};
constexpr std::size_t kFindDigitsMin = 4;

struct LoadedIndex {
  std::shared_ptr<const BlobIndex> blobs = std::make_shared<const BlobIndex>();
  std::set<std::string> files;  // the index files it was made of
};

std::size_t unpacked_bytes_max(FileKind kind) {
  switch (kind) {
    case FileKind::kIndex:
      return kIndexBytesMax;
    case FileKind::kSnapshot:
      return kSnapshotBytesMax;
    case FileKind::kLock:
    case FileKind::kConfig:
    case FileKind::kKey:
    case FileKind::kPack:
      break;
  }
  return kSmallFileBytesMax;
}

std::string short_name(FileKind kind, const Id& id) {
  return std::string(kind_name(kind)) + " " + id.hex().substr(0, 8);
}

}  // namespace

struct Repository::State {
  std::unique_ptr<Backend> backend;
  Owner owner;
  codec::BoxKey key;
  Config config;
  parallel::Guarded<LoadedIndex> index;
};

Repository::Repository(std::unique_ptr<State> state) : state_(std::move(state)) {}
Repository::~Repository() = default;

Result<std::unique_ptr<Repository>> Repository::init(const std::string& path,
                                                     const std::string& password,
                                                     const Owner& owner) {
  TRY_ASSIGN(std::unique_ptr<Backend> backend, make_local(path));
  return init(std::move(backend), password, owner);
}

Result<std::unique_ptr<Repository>> Repository::open(const std::string& path,
                                                     const std::string& password,
                                                     const Owner& owner) {
  TRY_ASSIGN(std::unique_ptr<Backend> backend, open_local(path));
  return open(std::move(backend), password, owner);
}

Result<std::unique_ptr<Repository>> Repository::init(std::unique_ptr<Backend> backend,
                                                     const std::string& password,
                                                     const Owner& owner) {
  const auto existing = backend->size_of(FileKind::kConfig, "config");
  if (existing.ok()) return Error(Code::kExists, "there is a repository at " + backend->location());
  if (existing.error().code() != Code::kNotFound) return existing.error();
  // A key without a config is what a killed init left: it opens nothing.
  TRY_ASSIGN(const std::vector<StoredFile> old_keys, backend->list(FileKind::kKey));
  for (const StoredFile& file : old_keys) TRY(backend->remove(FileKind::kKey, file.name));

  auto state = std::make_unique<State>();
  state->key = codec::random_box_key();
  state->owner = owner;
  state->config = make_config();
  TRY_ASSIGN(const std::string key, encode_key(state->key, password, owner));
  TRY(backend->save(FileKind::kKey, codec::sha256(as_bytes(key)).hex(), as_bytes(key)));
  Bytes sealed;
  codec::Box(state->key).seal(as_bytes(encode_config(state->config)), sealed);
  TRY(backend->save(FileKind::kConfig, "config", sealed));
  state->backend = std::move(backend);
  return std::unique_ptr<Repository>(new Repository(std::move(state)));
}

Result<std::unique_ptr<Repository>> Repository::open(std::unique_ptr<Backend> backend,
                                                     const std::string& password,
                                                     const Owner& owner) {
  TRY_ASSIGN(const Bytes sealed, backend->load(FileKind::kConfig, "config", kSmallFileBytesMax));
  auto state = std::make_unique<State>();
  TRY_ASSIGN(state->key, find_key(*backend, password));
  Bytes plain;
  TRY_CONTEXT(codec::Box(state->key).open(sealed, plain), "repository config");
  TRY_ASSIGN(state->config, parse_config(as_text(plain)));
  state->owner = owner;
  state->backend = std::move(backend);
  std::unique_ptr<Repository> repository(new Repository(std::move(state)));
  TRY(repository->refresh_index());
  return repository;
}

const std::string& Repository::id() const {
  return state_->config.id;
}
std::string Repository::location() const {
  return state_->backend->location();
}
const Owner& Repository::owner() const {
  return state_->owner;
}
Backend& Repository::backend() const {
  return *state_->backend;
}
const codec::BoxKey& Repository::master_key() const {
  return state_->key;
}
std::shared_ptr<const BlobIndex> Repository::index() const {
  return state_->index.lock()->blobs;
}

Result<std::string> Repository::load_unpacked(FileKind kind, const Id& id) {
  const std::size_t max_bytes = unpacked_bytes_max(kind);
  TRY_ASSIGN(const Bytes sealed, backend().load(kind, id.hex(), max_bytes));
  if (codec::sha256(sealed) != id) {
    return Error(Code::kCorrupt, short_name(kind, id) + " is not what its name says");
  }
  Bytes plain;
  TRY_CONTEXT(codec::Box(master_key()).open(sealed, plain), short_name(kind, id));
  if (plain.empty()) return Error(Code::kCorrupt, short_name(kind, id) + " is empty");
  if (plain[0] == kCompressedMark) {
    Bytes json;
    TRY_CONTEXT(codec::Compressor().decompress_bounded(ByteView(plain).subspan(1), max_bytes, json),
                short_name(kind, id));
    return std::string(as_text(json));
  }
  if (plain[0] != std::byte{'{'} && plain[0] != std::byte{'['}) {
    return Error(Code::kCorrupt, short_name(kind, id) + " has an unknown encoding");
  }
  return std::string(as_text(plain));
}

Result<Id> Repository::save_unpacked(FileKind kind, std::string_view json) {
  Bytes frame;
  codec::Compressor().compress_always(as_bytes(json), codec::Effort::kThorough, frame);
  frame.insert(frame.begin(), kCompressedMark);
  Bytes sealed;
  codec::Box(master_key()).seal(frame, sealed);
  const Id id = codec::sha256(sealed);
  TRY_CONTEXT(backend().save(kind, id.hex(), sealed), short_name(kind, id));
  return id;
}

Status Repository::refresh_index() {
  TRY_ASSIGN(const std::vector<StoredFile> listed, backend().list(FileKind::kIndex));
  std::set<std::string> files;
  for (const StoredFile& file : listed) files.insert(file.name);

  LoadedIndex loaded;
  {
    auto current = state_->index.lock();
    if (current->files == files) return {};
    loaded = *current;
  }
  // Files that went away took packs with them (a prune): begin afresh.
  if (!std::includes(files.begin(), files.end(), loaded.files.begin(), loaded.files.end())) {
    loaded = {};
  }
  std::vector<IndexedPack> fresh;
  for (const std::string& name : files) {
    if (loaded.files.contains(name)) continue;
    TRY_ASSIGN(const Id id, Id::parse(name));
    TRY_ASSIGN(const std::string json, load_unpacked(FileKind::kIndex, id));
    TRY_ASSIGN(std::vector<IndexedPack> packs, parse_index(json));
    std::move(packs.begin(), packs.end(), std::back_inserter(fresh));
  }
  loaded.blobs = BlobIndex::merge(*loaded.blobs, fresh);
  loaded.files = std::move(files);
  *state_->index.lock() = std::move(loaded);
  return {};
}

Status Repository::save_index(std::vector<IndexedPack> packs) {
  // An index may only name what is there: a pack whose writing failed in another thread is not.
  for (const IndexedPack& pack : packs) {
    TRY_ASSIGN(const std::uint64_t size, backend().size_of(FileKind::kPack, pack.id.hex()));
    if (size != pack_size(pack.blobs)) {
      return Error(Code::kCorrupt, short_name(FileKind::kPack, pack.id) + " has a wrong size");
    }
  }
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < packs.size();) {
    std::size_t end = begin;
    for (std::size_t blobs = 0; end < packs.size() && blobs < kIndexBlobsTarget; ++end) {
      blobs += packs[end].blobs.size();
    }
    const std::string json = encode_index(std::span(packs).subspan(begin, end - begin));
    TRY_ASSIGN(const Id id, save_unpacked(FileKind::kIndex, json));
    names.push_back(id.hex());
    begin = end;
  }
  auto current = state_->index.lock();
  current->blobs = BlobIndex::merge(*current->blobs, packs);
  current->files.insert(names.begin(), names.end());
  return {};
}

Result<std::vector<SnapshotInfo>> Repository::snapshots() {
  TRY_ASSIGN(const std::vector<StoredFile> files, backend().list(FileKind::kSnapshot));
  std::vector<SnapshotInfo> out;
  for (const StoredFile& file : files) {
    TRY_ASSIGN(const Id id, Id::parse(file.name));
    auto info = snapshot(id);
    if (!info.ok() && info.error().code() == Code::kNotFound) continue;  // removed meanwhile
    if (!info.ok()) return info.error();
    out.push_back(std::move(*info));
  }
  std::sort(out.begin(), out.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) {
    return std::tie(a.meta.time, a.id) < std::tie(b.meta.time, b.id);
  });
  return out;
}

Result<SnapshotInfo> Repository::snapshot(const Id& id) {
  TRY_ASSIGN(const std::string json, load_unpacked(FileKind::kSnapshot, id));
  return parse_snapshot(id, json);
}

Result<SnapshotInfo> Repository::find_snapshot(std::string_view prefix) {
  if (prefix.size() < kFindDigitsMin) return Error(Code::kInvalid, "give at least four digits");
  TRY_ASSIGN(const std::vector<StoredFile> files, backend().list(FileKind::kSnapshot));
  std::string found;
  for (const StoredFile& file : files) {
    if (!file.name.starts_with(prefix)) continue;
    if (!found.empty()) return Error(Code::kInvalid, "several snapshots begin with these digits");
    found = file.name;
  }
  if (found.empty()) {
    return Error(Code::kNotFound, "no snapshot " + printable(prefix, 64) + " in the repository");
  }
  TRY_ASSIGN(const Id id, Id::parse(found));
  return snapshot(id);
}

Result<Id> Repository::commit(PendingSnapshot pending, const SnapshotMeta& meta) {
  CHECK(pending.lock != nullptr);
  const SnapshotInfo info{
      .id = {}, .tree = pending.result.tree, .meta = meta, .paths = pending.paths};
  const std::string json = encode_snapshot(info);
  const bool early = os::seeded(os::Bug::kSnapshotBeforeIndex);

  // 1. Every pack is durable under its name. 2. The index that names them. 3. The snapshot.
  TRY_CONTEXT(backend().flush(), "store packs");
  TRY(pending.lock->confirm());
  Id id;
  if (early) {
    TRY_ASSIGN(id, save_unpacked(FileKind::kSnapshot, json));
  }
  const Status indexed = save_index(pending.packs);
  if (!indexed.ok()) {
    // What failed may have been its last step: packs that an index names stay.
    const bool unknown = !refresh_index().ok();
    const auto names = [this](const IndexedPack& pack) { return index()->names_pack(pack.id); };
    if (unknown || std::ranges::any_of(pending.packs, names)) pending.packs.clear();
    return indexed.error().with_context("store the index");
  }
  pending.packs.clear();
  if (!early) {
    TRY_ASSIGN(id, save_unpacked(FileKind::kSnapshot, json));
  }
  return id;
}

void Repository::take_back(const std::vector<IndexedPack>& packs) {
  for (const IndexedPack& pack : packs) {
    // One that stays is found by find_unindexed().
    [[maybe_unused]] const Status taken = backend().take_back(pack.id.hex());
  }
}

Status Repository::remove_snapshot(const Id& id) {
  TRY_ASSIGN(const std::unique_ptr<RepositoryLock> held, lock(LockMode::kShared));
  return backend().remove(FileKind::kSnapshot, id.hex());
}

Result<std::unique_ptr<RepositoryLock>> Repository::lock(LockMode mode) {
  return RepositoryLock::take(*this, mode);
}

Status Repository::remove_stale_locks() {
  return repository::remove_stale_locks(*this);
}

Result<Bytes> Repository::load_blob(BlobType type, const Id& id) {
  BlobReader reader(*this);
  return reader.load(type, id);
}

std::string make_password() {
  // 32 of 56 characters: 185 bits. No look-alikes (0 O, 1 l I, o).
  constexpr std::string_view kAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz";
  static_assert(kAlphabet.size() == 56);
  constexpr std::size_t kLength = 32;
  std::string out;
  while (out.size() < kLength) {
    std::array<std::byte, 1> random{};
    codec::random_bytes(random);
    const auto value = std::to_integer<std::size_t>(random[0]);
    // Values past the last whole multiple would favour the alphabet's beginning.
    if (value < 256 / kAlphabet.size() * kAlphabet.size())
      out += kAlphabet[value % kAlphabet.size()];
  }
  return out;
}

}  // namespace cairn::repository
