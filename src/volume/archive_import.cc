// archive -> parser's child -> entries -> staging, a directory a volume -> repository -> row
#include "volume/archive_import.h"

#include <algorithm>
#include <map>

#include "base/ids.h"
#include "base/log.h"
#include "base/strings.h"
#include "volume/archive_parser.h"
#include "volume/archive_staging.h"
#include "volume/capture.h"
#include "volume/manifest.h"

namespace cairn::volume {

namespace {

using codec::TarEntry;
using codec::TarType;

constexpr std::uint64_t kImportCheckBytes = std::uint64_t{64} << 20U;  // between looks at the room
constexpr std::uint64_t kImportFreeShare = 20;                         // 1/20 of it stays free
constexpr std::uint64_t kImportTextBytesMax = std::uint64_t{512} << 20U;  // names and links kept
constexpr std::uint64_t kProgressEveryEntries = 1000;
constexpr std::uint32_t kSetIdBits = 06000;

// What decides how another file system shows a file, or who may do what: the rest of the names
// mean something to one machine's kernel only.
bool is_known_xattr(std::string_view name) {
  if (name.starts_with("user.overlay.") || name.starts_with("trusted.overlay.")) return false;
  return name.starts_with("user.") || name.starts_with("trusted.") ||
         name == "security.capability" || name == "security.selinux" ||
         name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

// Takes an archive's entries, in order: manifest.json, then volumes/<index>/... Once something is
// not allowed nothing more is written and the rest is counted. One thread.
class Importer final : public codec::TarSink {
 public:
  Importer(const os::Dir& place, const ImportOptions& options, catalog::OperationContext& context)
      : place_(place), options_(options), context_(context) {}

  Status entry(const TarEntry& entry) override;
  Status data(std::uint64_t offset, ByteView bytes) override;
  // The archive was whole: the trees are, too; or every reason why not.
  Status finish();

  [[nodiscard]] const Manifest& manifest() const { return *manifest_; }
  [[nodiscard]] const os::Dir& tree(int index) const { return volumes_.at(index).staging.root(); }
  [[nodiscard]] std::vector<std::string> warnings() const;

 private:
  struct Volume {
    Staging staging;
    bool named = false;  // the archive has the volume's root
  };

  Status begin_volumes();
  Status add(Volume& volume, const std::vector<std::string>& path, const TarEntry& entry);
  Status add_link(Volume& volume, const std::vector<std::string>& path, const TarEntry& entry);
  // Counts what of the entry is not allowed; true where all of it is.
  bool check_allowed(const TarEntry& entry);
  void refuse(const std::string& what) { ++refused_[what]; }
  Status check_room(std::uint64_t bytes);
  Status check_text(const TarEntry& entry);

  const os::Dir& place_;
  const ImportOptions& options_;
  catalog::OperationContext& context_;
  std::string manifest_text_;
  bool in_manifest_ = false;
  bool dropping_ = false;  // the data of an entry that is not written
  std::optional<Manifest> manifest_;
  std::map<int, Volume> volumes_;
  Volume* writing_ = nullptr;
  std::map<std::string, std::uint64_t> refused_;
  std::map<std::string, std::uint64_t> skipped_;
  std::uint64_t entries_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t checked_bytes_ = 0;
  std::uint64_t text_bytes_ = 0;
};

Status Importer::entry(const TarEntry& entry) {
  TRY_ASSIGN(const std::vector<std::string> path, codec::split_tar_path(entry.path));
  if (++entries_ % kProgressEveryEntries == 0) {
    context_.count({.bytes_done = bytes_, .items_done = entries_});
    if (refused_.empty()) TRY(check_room(0));
  }
  dropping_ = false;
  if (in_manifest_) {
    in_manifest_ = false;
    TRY(begin_volumes());
  }
  const bool directory = entry.type == TarType::kDirectory;
  if (path.empty() || (directory && path.size() == 1 && path[0] == "volumes")) return {};
  if (path.size() == 1 && path[0] == "manifest.json") {
    if (manifest_ || entry.type != TarType::kFile || entry.size_bytes > kManifestBytesMax) {
      return Error(Code::kInvalid, "manifest.json is there twice, too large or no file");
    }
    in_manifest_ = true;
    return {};
  }
  if (!manifest_) return Error(Code::kInvalid, "manifest.json is not the archive's first file");
  const auto index = path.size() < 2 ? std::nullopt : parse_uint(path[1]);
  const auto volume = index && *index < kVolumesMax && path[1] == std::to_string(*index)
                          ? volumes_.find(static_cast<int>(*index))
                          : volumes_.end();
  if (path[0] != "volumes" || volume == volumes_.end()) {
    return Error(Code::kInvalid,
                 "'" + printable(entry.path, 120) + "' is in no volume that the manifest names");
  }
  const bool allowed = check_allowed(entry);
  if (!allowed || !refused_.empty()) {
    dropping_ = true;
    return {};
  }
  TRY(check_text(entry));
  const Status added = add(volume->second, {path.begin() + 2, path.end()}, entry);
  return added.ok() ? added : added.error().with_context(printable(entry.path, 120));
}

// The parser tells what it found; what is kept in memory of it has a bound of its own.
Status Importer::check_text(const TarEntry& entry) {
  if (entry.type == TarType::kFile) return {};
  text_bytes_ += entry.link.size() + entry.path.size() - entry.path.rfind('/');
  for (const codec::TarXattr& xattr : entry.xattrs) {
    text_bytes_ += xattr.name.size() + xattr.value.size();
  }
  if (text_bytes_ > kImportTextBytesMax) {
    return Error(Code::kInvalid, "the names and links of the archive are larger than allowed");
  }
  return {};
}

bool Importer::check_allowed(const TarEntry& entry) {
  const auto before = refused_;
  switch (entry.type) {
    case TarType::kFile:
    case TarType::kDirectory:
      break;
    case TarType::kSymlink:
    case TarType::kHardLink:
      if (!options_.allow_links) refuse(std::string(plural_of(entry.type)) + " (--allow links)");
      break;
    case TarType::kFifo:
      if (!options_.skip_fifos) refuse("fifos (--skip fifos)");
      break;
    case TarType::kCharDevice:
    case TarType::kBlockDevice:
      if (!options_.skip_devices) refuse(std::string(plural_of(entry.type)) + " (--skip devices)");
      break;
  }
  if (!options_.allow_owners) {
    if (entry.uid != 0 || entry.gid != 0) refuse("entries of other owners (--allow owners)");
    if (entry.type == TarType::kFile && (entry.mode & kSetIdBits) != 0) {
      refuse("files with setuid or setgid (--allow owners)");
    }
  }
  if (!entry.xattrs.empty() && !options_.allow_xattrs) {
    refuse("entries with extended attributes (--allow xattrs)");
  }
  for (const codec::TarXattr& xattr : entry.xattrs) {
    if (options_.allow_xattrs && !is_known_xattr(xattr.name)) {
      refuse("extended attributes " + printable(xattr.name, 60) + ", which are never imported");
    }
  }
  return refused_ == before;
}

Status Importer::add(Volume& volume, const std::vector<std::string>& path, const TarEntry& entry) {
  writing_ = &volume;
  if (path.empty() && entry.type != TarType::kDirectory) {
    return Error(Code::kInvalid, "a volume's root is not a directory");
  }
  switch (entry.type) {
    case TarType::kDirectory:
      volume.named = volume.named || path.empty();
      return volume.staging.add_directory(path, entry);
    case TarType::kFile:
      return volume.staging.add_file(path, entry);
    case TarType::kSymlink:
      return volume.staging.add_symlink(path, entry);
    case TarType::kHardLink:
      return add_link(volume, path, entry);
    case TarType::kFifo:
    case TarType::kCharDevice:
    case TarType::kBlockDevice:
      break;
  }
  ++skipped_[std::string(plural_of(entry.type))];
  return volume.staging.skip(path);
}

Status Importer::add_link(Volume& volume,
                          const std::vector<std::string>& path,
                          const TarEntry& entry) {
  TRY_ASSIGN(const std::vector<std::string> own, codec::split_tar_path(entry.path));
  TRY_ASSIGN(const std::vector<std::string> target, codec::split_tar_path(entry.link));
  if (target.size() < 3 || target[0] != own[0] || target[1] != own[1]) {
    return Error(Code::kInvalid, "a hard link out of its volume");
  }
  return volume.staging.add_hard_link(path, {target.begin() + 2, target.end()});
}

Status Importer::data(std::uint64_t offset, ByteView bytes) {
  if (in_manifest_) {
    if (offset != manifest_text_.size() ||
        manifest_text_.size() + bytes.size() > kManifestBytesMax) {
      return Error(Code::kInvalid, "manifest.json is too large or has holes");
    }
    manifest_text_ += as_text(bytes);
    return {};
  }
  if (dropping_) return {};
  if (writing_ == nullptr) return Error(Code::kCorrupt, "data of no file");
  TRY(check_room(bytes.size()));
  return writing_->staging.write(offset, bytes);
}

Status Importer::check_room(std::uint64_t bytes) {
  bytes_ += bytes;
  if (bytes != 0 && bytes_ - checked_bytes_ < kImportCheckBytes) return {};
  checked_bytes_ = bytes_;
  TRY_ASSIGN(const os::Space space, os::space_of(place_.fd()));
  const bool inodes =
      space.total_inodes != 0 && space.available_inodes < space.total_inodes / kImportFreeShare;
  if (inodes || space.available_bytes < space.total_bytes / kImportFreeShare) {
    return Error(Code::kNoSpace, "the data directory's file system has no room for the import");
  }
  context_.count({.bytes_done = bytes_, .items_done = entries_});
  return {};
}

Status Importer::begin_volumes() {
  TRY_ASSIGN(manifest_, parse_manifest(manifest_text_));
  for (const ManifestVolume& one : manifest_->volumes) {
    const std::string name = std::to_string(one.index);
    TRY(place_.make_dir(name, 0700));
    TRY_ASSIGN(os::Dir dir, place_.open_dir(name, os::Crossing::kRefuse));
    const StagingKeeps keeps{.owners = options_.allow_owners, .xattrs = options_.allow_xattrs};
    volumes_.emplace(one.index, Volume{.staging = Staging(std::move(dir), keeps)});
  }
  return {};
}

Status Importer::finish() {
  if (in_manifest_) TRY(begin_volumes());
  if (!manifest_) return Error(Code::kInvalid, "the archive has no manifest.json with volumes");
  if (!refused_.empty()) {
    ErrorDetail detail;
    std::string words = "the archive holds what is not allowed";
    for (const auto& [what, count] : refused_) {
      detail.reasons.push_back({"", "not_allowed", std::to_string(count) + " " + what});
      words += (detail.reasons.size() == 1 ? ": " : "; ") + detail.reasons.back().detail;
    }
    return Error(Code::kRefused, std::move(words), std::move(detail));
  }
  for (auto& [index, volume] : volumes_) {
    if (!volume.named) {
      return Error(Code::kInvalid, "the archive has no directory volumes/" + std::to_string(index));
    }
    TRY(volume.staging.finish());
  }
  return {};
}

std::vector<std::string> Importer::warnings() const {
  std::vector<std::string> out;
  for (const auto& [what, count] : skipped_) {
    out.push_back(std::to_string(count) + " " + what + " were skipped");
  }
  return out;
}

// The trees as a capture would have found them. Scope and source are the current config's: what the
// archive says of them is never written down.
Result<std::vector<CaptureRoot>> roots_of(Core& core,
                                          const catalog::Workload& workload,
                                          const Importer& importer) {
  TRY_ASSIGN(const std::vector<DeclaredVolume> declared, declared_volumes(core, workload));
  std::vector<CaptureRoot> roots;
  ErrorDetail detail;
  for (const ManifestVolume& one : importer.manifest().volumes) {
    const auto found = std::ranges::find(declared, one.target, &DeclaredVolume::target);
    if (found == declared.end() || !is_capturable(found->scope)) {
      detail.reasons.push_back({one.target, "not_declared",
                                "the workload's current config has no such volume to restore to"});
      continue;
    }
    ResolvedVolume volume;
    volume.target = found->target;
    volume.scope = found->scope;
    volume.source = found->source;
    TRY_ASSIGN(os::Dir tree, importer.tree(one.index).clone());
    roots.push_back({one.index, std::move(volume), std::move(tree)});
  }
  if (!detail.reasons.empty()) {
    return Error(Code::kRefused, "the archive has volumes of another workload", std::move(detail));
  }
  return roots;
}

Result<catalog::SnapshotRow> import_into(Core& core,
                                         const catalog::Workload& workload,
                                         const os::Fd& archive,
                                         const os::Dir& place,
                                         const ImportOptions& options,
                                         catalog::OperationContext& context) {
  context.phase("unpack");
  Importer importer(place, options, context);
  TRY(parse_archive(archive, importer, context.stop_token()));
  TRY(importer.finish());
  TRY_ASSIGN(const std::vector<CaptureRoot> roots, roots_of(core, workload, importer));
  catalog::SnapshotRow row;
  row.id = ids::make(ids::kSnapshot);
  row.workload_id = workload.id;
  row.workload_name = workload.name;
  row.operation_id = context.id();
  row.reason = catalog::SnapshotReason::kImport;
  row.consistency = kConsistencyUnknown;
  row.data_generation = workload.data_generation;
  row.warnings = importer.warnings();
  TRY(store_capture(core, roots, row, context));
  return row;
}

}  // namespace

Result<catalog::SnapshotRow> run_import(Core& core,
                                        const catalog::Workload& workload,
                                        const os::Fd& archive,
                                        const ImportOptions& options,
                                        catalog::OperationContext& context) {
  TRY_ASSIGN(const os::Dir data, os::Dir::open(core.data_dir));
  TRY_ASSIGN(const os::Dir imports, data.ensure_dir(std::string(kImportDir), 0700));
  TRY(imports.make_dir(context.id(), 0700));
  auto row = [&]() -> Result<catalog::SnapshotRow> {
    TRY_ASSIGN(const os::Dir place, imports.open_dir(context.id(), os::Crossing::kRefuse));
    return import_into(core, workload, archive, place, options, context);
  }();
  if (const Status removed = imports.remove_tree(context.id()); !removed.ok()) {
    log::warn("staging of import {}: {}", context.id(), removed.error().message());
  }
  if (!row.ok()) return row.error().with_context("import into " + workload.name);
  tell(core, "snapshot.imported", workload.id, context.id(),
       "snapshot " + row->id + " of " + workload.name + " was imported from an archive");
  return row;
}

Status remove_imports(const Core& core) {
  TRY_ASSIGN(const os::Dir data, os::Dir::open(core.data_dir));
  const auto imports = data.open_dir(std::string(kImportDir), os::Crossing::kRefuse);
  if (!imports.ok()) return imports.error().code() == Code::kNotFound ? Status() : imports.error();
  TRY_ASSIGN(const std::vector<os::Entry> entries, imports->list());
  for (const os::Entry& one : entries) TRY(imports->remove_tree(one.name));
  return {};
}

Result<std::vector<std::string>> list_stray_imports(Core& core) {
  std::vector<std::string> stray;
  TRY_ASSIGN(const os::Dir data, os::Dir::open(core.data_dir));
  const auto imports = data.open_dir(std::string(kImportDir), os::Crossing::kRefuse);
  if (!imports.ok()) return stray;
  TRY_ASSIGN(const std::vector<os::Entry> entries, imports->list());
  for (const os::Entry& one : entries) {
    const auto operation = core.operations.find(one.name);
    const bool working = operation.ok() && operation->has_value() &&
                         (*operation)->state == catalog::OperationState::kRunning;
    if (!working) stray.push_back(one.name);
  }
  return stray;
}

}  // namespace cairn::volume
