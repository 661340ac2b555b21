// tree -> entry -> header (holes looked for first) -> blobs, verified -> gzip -> sink
#include "volume/archive_export.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/strings.h"
#include "codec/chunker.h"
#include "codec/tar_writer.h"
#include "repository/archive.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/limits.h"
#include "repository/lock.h"
#include "repository/tree_path.h"

namespace cairn::volume {

namespace {

using codec::TarEntry;
using codec::TarExtent;
using codec::TarType;
using repository::BlobType;
using repository::Id;
using repository::Node;
using repository::NodeType;

constexpr std::size_t kHoleBlockBytes = 4096;
constexpr std::size_t kExtentsMax = std::size_t{1} << 20U;  // of one file; what is left is data

// The ranges of one file that hold data.
class Extents {
 public:
  void data(std::uint64_t offset, std::uint64_t bytes) {
    if (bytes == 0) return;
    if (!list_.empty() && list_.back().offset + list_.back().bytes == offset) {
      list_.back().bytes += bytes;
    } else {
      list_.push_back({offset, bytes});
    }
  }
  [[nodiscard]] bool full() const { return list_.size() >= kExtentsMax; }
  [[nodiscard]] const std::vector<TarExtent>& list() const { return list_; }
  [[nodiscard]] bool whole(std::uint64_t size) const {
    return size == 0 || (list_.size() == 1 && list_[0].bytes == size);
  }

 private:
  std::vector<TarExtent> list_;
};

// Long runs of zero blocks, aligned in the file as a restore would make them holes.
void scan_blob(ByteView bytes, std::uint64_t offset, Extents& out) {
  std::size_t from = 0;
  std::size_t at = (kHoleBlockBytes - offset % kHoleBlockBytes) % kHoleBlockBytes;
  while (at < bytes.size()) {
    std::size_t end = at;
    while (end < bytes.size() &&
           codec::is_zero(bytes.subspan(end, std::min(kHoleBlockBytes, bytes.size() - end)))) {
      end = std::min(end + kHoleBlockBytes, bytes.size());
    }
    if (end - at >= repository::kHoleBytesMin) {
      out.data(offset + from, at - from);
      from = end;
    }
    at = std::max(end, at + kHoleBlockBytes);
  }
  out.data(offset + from, bytes.size() - from);
}

// What two entries must share to be names of one inode.
Id fingerprint(const Node& node) {
  std::string text = std::to_string(static_cast<int>(node.type)) + "/" + std::to_string(node.size) +
                     "/" + std::to_string(node.device) + "/" + node.link_target + "/";
  for (const Id& id : node.content) text += id.hex();
  return codec::sha256(as_bytes(text));
}

std::optional<TarType> tar_type(NodeType type) {
  switch (type) {
    case NodeType::kFile:
      return TarType::kFile;
    case NodeType::kDir:
      return TarType::kDirectory;
    case NodeType::kSymlink:
      return TarType::kSymlink;
    case NodeType::kDevice:
      return TarType::kBlockDevice;
    case NodeType::kCharDevice:
      return TarType::kCharDevice;
    case NodeType::kFifo:
      return TarType::kFifo;
    case NodeType::kSocket:
    case NodeType::kIrregular:
      break;
  }
  return std::nullopt;
}

TarEntry entry_of(const Node& node, TarType type, const std::string& path) {
  TarEntry entry;
  entry.type = type;
  entry.path = path;
  entry.mode = node.mode;
  entry.uid = node.uid;
  entry.gid = node.gid;
  entry.mtime = node.mtime;
  if (type == TarType::kFile) entry.size_bytes = node.size;
  if (type == TarType::kSymlink) entry.link = node.link_target;
  if (type == TarType::kCharDevice || type == TarType::kBlockDevice) {
    entry.device_major = gnu_dev_major(node.device);
    entry.device_minor = gnu_dev_minor(node.device);
  }
  for (const os::Xattr& xattr : node.xattrs) entry.xattrs.push_back({xattr.name, xattr.value});
  return entry;
}

struct ExportRoot {
  std::string path;  // in the archive
  Node node;
};

// One thread.
class Exporter {
 public:
  Exporter(repository::Repository& repository,
           std::unique_ptr<repository::RepositoryLock> lock,
           std::vector<ExportRoot> roots)
      : lock_(std::move(lock)),
        index_(repository.index()),
        reader_(repository),
        roots_(std::move(roots)) {}

  Status run(const codec::ByteSink& sink, const std::stop_token& stop) {
    stop_ = stop;
    codec::GzipWriter gzip(sink);
    gzip_ = &gzip;
    for (const ExportRoot& root : roots_) {
      links_.clear();
      TRY(write_node(root.node, root.path, 0));
    }
    TRY(put(codec::tar_end()));
    return gzip.finish();
  }

 private:
  struct Link {
    std::string path;
    Id content;
    std::uint64_t left = 0;  // names that may still come
  };

  Status put(std::string_view text) { return gzip_->write(as_bytes(text)); }
  Status write_node(const Node& node, const std::string& path, std::size_t depth);
  Status write_file(const Node& node, const std::string& path);
  Status write_content(const Node& node, const std::vector<TarExtent>* extents);
  std::optional<std::string> link_of(const Node& node, const std::string& path);
  Result<Extents> find_extents(const Node& node);
  Result<repository::BlobIndex::Location> locate(const Id& id) const;
  Result<const Bytes*> load(const Id& id);

  const std::unique_ptr<repository::RepositoryLock> lock_;
  const std::shared_ptr<const repository::BlobIndex> index_;
  repository::BlobReader reader_;
  const std::vector<ExportRoot> roots_;
  std::stop_token stop_;
  codec::GzipWriter* gzip_ = nullptr;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Link> links_;  // of one volume
  std::optional<Id> loaded_id_;  // of loaded_: holes are looked for before the data is written
  Bytes loaded_;
  std::optional<Id> zero_id_;  // a blob that holds only zeros: there are many in a large hole
};

Status Exporter::write_node(const Node& node, const std::string& path, std::size_t depth) {
  if (stop_.stop_requested()) return Error(Code::kCancelled, "cancelled");
  if (depth > repository::kDepthMax)
    return Error(Code::kCorrupt, "the tree is deeper than allowed");
  const std::optional<TarType> type = tar_type(node.type);
  if (!type) return {};  // a socket: it means nothing without its process
  if (*type != TarType::kDirectory && node.links > 1) {
    if (const std::optional<std::string> first = link_of(node, path)) {
      TarEntry entry = entry_of(node, TarType::kHardLink, path);
      entry.link = *first;
      entry.xattrs.clear();  // they are the inode's
      TRY_ASSIGN(const std::string header, codec::encode_tar_header(entry));
      return put(header);
    }
  }
  if (*type == TarType::kFile) {
    const Status written = write_file(node, path);
    return written.ok() ? written : written.error().with_context(printable(path));
  }
  TRY_ASSIGN(const std::string header, codec::encode_tar_header(entry_of(node, *type, path)));
  TRY(put(header));
  if (*type != TarType::kDirectory) return {};
  TRY_ASSIGN(const std::vector<Node> nodes, reader_.load_tree(node.subtree));
  for (const Node& child : nodes) TRY(write_node(child, path + "/" + child.name, depth + 1));
  return {};
}

// The first name of the same inode in this volume; nothing where this one is the first.
std::optional<std::string> Exporter::link_of(const Node& node, const std::string& path) {
  const std::pair key{node.inode, node.device_id};
  const Id content = fingerprint(node);
  const auto found = links_.find(key);
  if (found == links_.end()) {
    links_[key] = {path, content, node.links - 1};
    return std::nullopt;
  }
  if (found->second.content != content) return std::nullopt;
  std::string first = found->second.path;
  if (--found->second.left == 0) links_.erase(found);
  return first;
}

Result<repository::BlobIndex::Location> Exporter::locate(const Id& id) const {
  const auto location = index_->find(BlobType::kData, id);
  if (!location) {
    return Error(Code::kCorrupt, "blob " + id.hex().substr(0, 8) + " is not in the index");
  }
  TRY(repository::check_blob_size(location->blob));
  return *location;
}

Result<const Bytes*> Exporter::load(const Id& id) {
  if (loaded_id_ == id) return &loaded_;
  if (stop_.stop_requested()) return Error(Code::kCancelled, "cancelled");
  loaded_id_.reset();
  auto bytes = reader_.load(BlobType::kData, id);
  if (!bytes.ok()) return bytes.error();
  loaded_ = std::move(bytes).value();
  loaded_id_ = id;
  return &loaded_;
}

Result<Extents> Exporter::find_extents(const Node& node) {
  Extents extents;
  std::uint64_t offset = 0;
  for (const Id& id : node.content) {
    TRY_ASSIGN(const auto location, locate(id));
    const std::uint64_t size = repository::plain_size(location.blob);
    // A long run of zeros compresses to nearly nothing: what did not shrink has none.
    const bool shrunk = location.blob.length + repository::kHoleBytesMin / 2 < size;
    if (zero_id_ == id && !extents.full()) {
      // Nothing of it is data.
    } else if (!shrunk || extents.full()) {
      extents.data(offset, size);
    } else {
      TRY_ASSIGN(const Bytes* bytes, load(id));
      if (codec::is_zero(*bytes)) zero_id_ = id;
      scan_blob(*bytes, offset, extents);
    }
    offset += size;
  }
  if (offset != node.size) {
    return Error(Code::kCorrupt, "the content is not as long as the file");
  }
  return extents;
}

Status Exporter::write_file(const Node& node, const std::string& path) {
  TRY_ASSIGN(const Extents extents, find_extents(node));
  const bool sparse = !extents.whole(node.size);
  const std::vector<TarExtent>* list = sparse ? &extents.list() : nullptr;
  TRY_ASSIGN(const std::string header,
             codec::encode_tar_header(entry_of(node, TarType::kFile, path), list));
  TRY(put(header));
  return write_content(node, list);
}

// Every blob, or of each what lies in an extent.
Status Exporter::write_content(const Node& node, const std::vector<TarExtent>* extents) {
  std::uint64_t offset = 0;
  std::uint64_t written = 0;
  std::size_t next = 0;  // the first extent that ends after offset
  for (const Id& id : node.content) {
    TRY_ASSIGN(const auto location, locate(id));
    const std::uint64_t end = offset + repository::plain_size(location.blob);
    if (extents == nullptr) {
      TRY_ASSIGN(const Bytes* bytes, load(id));
      TRY(gzip_->write(*bytes));
      written += bytes->size();
    } else {
      for (; next < extents->size() && (*extents)[next].offset < end; ++next) {
        const TarExtent& extent = (*extents)[next];
        const std::uint64_t from = std::max(extent.offset, offset);
        const std::uint64_t to = std::min(extent.offset + extent.bytes, end);
        TRY_ASSIGN(const Bytes* bytes, load(id));
        TRY(gzip_->write(ByteView(*bytes).subspan(from - offset, to - from)));
        written += to - from;
        if (extent.offset + extent.bytes > end) break;  // it goes on in the next blob
      }
    }
    offset = end;
  }
  return put(codec::tar_padding(written));
}

}  // namespace

Result<ArchiveSource> open_export(Core& core, const catalog::SnapshotRow& snapshot) {
  if (snapshot.state != catalog::SnapshotState::kStored) {
    return Error(Code::kConflict, "snapshot " + snapshot.id + " is not stored");
  }
  TRY_ASSIGN(const repository::Id id, repository::Id::parse(snapshot.repository_snapshot));
  TRY_ASSIGN(auto lock, core.repository.lock(repository::LockMode::kShared));
  TRY(core.repository.refresh_index());
  TRY_ASSIGN(const repository::SnapshotInfo info, core.repository.snapshot(id));
  repository::BlobReader reader(core.repository);
  std::vector<ExportRoot> roots;
  TRY_ASSIGN(Node manifest, find_node(reader, info.tree, std::string(repository::kManifestPath)));
  if (manifest.type != NodeType::kFile) {
    return Error(Code::kCorrupt, "the snapshot's manifest is not a file");
  }
  roots.push_back({"manifest.json", std::move(manifest)});
  for (const catalog::SnapshotVolume& volume : snapshot.volumes) {
    const std::string path = repository::volume_path(volume.index);
    TRY_ASSIGN(Node node, find_node(reader, info.tree, path));
    if (node.type != NodeType::kDir) return Error(Code::kCorrupt, path + " is not a directory");
    roots.push_back({path.substr(1), std::move(node)});
  }
  auto exporter = std::make_shared<Exporter>(core.repository, std::move(lock), std::move(roots));
  return ArchiveSource([exporter](const codec::ByteSink& sink, const std::stop_token& stop) {
    return exporter->run(sink, stop);
  });
}

}  // namespace cairn::volume
