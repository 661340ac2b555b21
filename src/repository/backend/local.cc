#include "repository/backend/local.h"

#include <fcntl.h>

#include <array>
#include <deque>
#include <filesystem>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "base/strings.h"
#include "codec/hash.h"
#include "os/dir.h"
#include "os/fault.h"

namespace cairn::repository {

std::string_view kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kConfig:
      return "config";
    case FileKind::kKey:
      return "key";
    case FileKind::kPack:
      return "pack";
    case FileKind::kIndex:
      return "index";
    case FileKind::kSnapshot:
      return "snapshot";
    case FileKind::kLock:
      return "lock";
  }
  return "file";
}

namespace {

constexpr std::uint32_t kDirMode = 0700;
constexpr std::uint32_t kFileMode = 0400;
constexpr std::array<const char*, 5> kDirNames = {"data", "keys", "index", "snapshots", "locks"};
// Packs whose bytes may still be on their way to the disk: one descriptor each.
constexpr std::size_t kUnsyncedPacksMax = 8;

std::size_t dir_of(FileKind kind) {
  switch (kind) {
    case FileKind::kPack:
      return 0;
    case FileKind::kKey:
      return 1;
    case FileKind::kIndex:
      return 2;
    case FileKind::kSnapshot:
      return 3;
    case FileKind::kLock:
      return 4;
    case FileKind::kConfig:
      break;
  }
  CHECK(false);
}

class LocalBackend final : public Backend {
 public:
  LocalBackend(std::string path, os::Dir root, std::vector<os::Dir> dirs, bool lists_at_once)
      : path_(std::move(path)),
        root_(std::move(root)),
        dirs_(std::move(dirs)),
        lists_at_once_(lists_at_once) {}

  [[nodiscard]] std::string location() const override { return path_; }
  [[nodiscard]] bool lists_at_once() const override { return lists_at_once_; }
  Result<std::vector<StoredFile>> list(FileKind kind) override;
  Result<Bytes> load(FileKind kind, const std::string& name, std::size_t max_bytes) override;
  Result<std::uint64_t> size_of(FileKind kind, const std::string& name) override;
  Status load_range(FileKind kind,
                    const std::string& name,
                    std::uint64_t offset,
                    std::span<std::byte> out) override;
  Status save(FileKind kind, const std::string& name, ByteView content) override;
  Status save_later(FileKind kind, const std::string& name, ByteView content) override;
  Status flush() override;
  Status take_back(const std::string& pack) override;
  Status remove(FileKind kind, const std::string& name) override;

 private:
  // A pack that has bytes but no name yet.
  struct Unnamed {
    std::string name;
    os::Fd file;
  };

  Status check_name(FileKind kind, const std::string& name) const;
  Result<os::Fd> open_stored(FileKind kind, const std::string& name) const;
  static Status list_into(const os::Dir& dir, std::vector<StoredFile>& out);
  Result<os::Dir> pack_dir(const std::string& name);
  Status give_name(const Unnamed& pack);
  [[nodiscard]] const os::Dir& dir(FileKind kind) const { return dirs_[dir_of(kind)]; }

  const std::string path_;
  const os::Dir root_;
  const std::vector<os::Dir> dirs_;
  const bool lists_at_once_;

  // Held while packs are written and synced: order between flush() and save_later() is the point.
  std::mutex mutex_;
  std::deque<Unnamed> unnamed_;
  std::set<std::string> unsynced_dirs_;  // of data/, by their two digits
  bool data_dir_unsynced_ = false;
  bool sync_failed_ = false;  // what a failed sync lost is lost: a repeated one proves nothing
};

Status LocalBackend::check_name(FileKind kind, const std::string& name) const {
  if (kind == FileKind::kConfig) return {};
  auto id = codec::Id::parse(name);
  if (!id.ok()) return Error(Code::kInvalid, "not the name of a stored file: " + printable(name));
  return {};
}

Result<os::Fd> LocalBackend::open_stored(FileKind kind, const std::string& name) const {
  TRY(check_name(kind, name));
  if (kind == FileKind::kConfig) return root_.open_file("config", O_RDONLY);
  if (kind == FileKind::kPack) {
    return dir(kind).open_file(name.substr(0, 2) + "/" + name, O_RDONLY);
  }
  return dir(kind).open_file(name, O_RDONLY);
}

Status LocalBackend::list_into(const os::Dir& dir, std::vector<StoredFile>& out) {
  TRY_ASSIGN(const std::vector<os::Entry> entries, dir.list());
  for (const os::Entry& entry : entries) {
    if (!codec::Id::parse(entry.name).ok()) continue;
    TRY_ASSIGN(const std::optional<os::Stat> stat, dir.find(entry.name));
    if (!stat || stat->type != os::FileType::kRegular) continue;
    out.push_back({entry.name, stat->size_bytes});
  }
  return {};
}

Result<std::vector<StoredFile>> LocalBackend::list(FileKind kind) {
  std::vector<StoredFile> out;
  if (kind != FileKind::kPack) {
    TRY(list_into(dir(kind), out));
    return out;
  }
  TRY_ASSIGN(const std::vector<os::Entry> entries, dir(kind).list());
  for (const os::Entry& entry : entries) {
    std::array<std::byte, 1> prefix{};
    if (entry.type != os::FileType::kDirectory || !parse_hex(entry.name, prefix).ok()) continue;
    TRY_ASSIGN(const os::Dir sub, dir(kind).open_dir(entry.name));
    TRY(list_into(sub, out));
  }
  return out;
}

Result<Bytes> LocalBackend::load(FileKind kind, const std::string& name, std::size_t max_bytes) {
  TRY_ASSIGN(const os::Fd file, open_stored(kind, name));
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(file));
  if (stat.type != os::FileType::kRegular || stat.size_bytes > max_bytes) {
    return Error(Code::kCorrupt, std::string(kind_name(kind)) + " " + name + " is too large");
  }
  Bytes out(stat.size_bytes);
  TRY_ASSIGN(const std::size_t got, os::read_at(file, out, 0));
  out.resize(got);
  return out;
}

Result<std::uint64_t> LocalBackend::size_of(FileKind kind, const std::string& name) {
  TRY_ASSIGN(const os::Fd file, open_stored(kind, name));
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(file));
  return stat.size_bytes;
}

Status LocalBackend::load_range(FileKind kind,
                                const std::string& name,
                                std::uint64_t offset,
                                std::span<std::byte> out) {
  TRY_ASSIGN(const os::Fd file, open_stored(kind, name));
  TRY_ASSIGN(const std::size_t got, os::read_at(file, out, offset));
  if (got != out.size()) {
    return Error(Code::kCorrupt, std::string(kind_name(kind)) + " " + name + " is cut short");
  }
  return {};
}

Status LocalBackend::save(FileKind kind, const std::string& name, ByteView content) {
  TRY(check_name(kind, name));
  if (kind == FileKind::kConfig) return root_.publish_file("config", content, kFileMode);
  if (kind == FileKind::kPack) {
    TRY(save_later(kind, name, content));
    return flush();
  }
  if (kind != FileKind::kLock) return dir(kind).publish_file(name, content, kFileMode);
  // A lock that a power failure takes away protects nobody any more: its entry is not synced.
  TRY_ASSIGN(const os::Fd file,
             dir(kind).open_file(".", __O_TMPFILE | O_DIRECTORY | O_WRONLY, kFileMode));
  TRY(os::write_all(file, content));
  TRY(os::sync_data(file));
  return dir(kind).link_file(file, name);
}

// Called with mutex_ held.
Result<os::Dir> LocalBackend::pack_dir(const std::string& name) {
  const std::string prefix = name.substr(0, 2);
  const os::Dir& data = dir(FileKind::kPack);
  auto opened = data.open_dir(prefix);
  if (opened.ok() || opened.error().code() != Code::kNotFound) return opened;
  data_dir_unsynced_ = true;
  return data.ensure_dir(prefix, kDirMode);
}

Status LocalBackend::save_later(FileKind kind, const std::string& name, ByteView content) {
  CHECK(kind == FileKind::kPack);
  TRY(check_name(kind, name));
  const std::scoped_lock lock(mutex_);
  TRY_ASSIGN(const os::Dir sub, pack_dir(name));
  TRY_ASSIGN(os::Fd file, sub.open_file(".", __O_TMPFILE | O_DIRECTORY | O_WRONLY, kFileMode));
  TRY_CONTEXT(os::write_all(file, content), "write pack " + name);
  os::begin_writeback(file);
  unnamed_.push_back({name, std::move(file)});
  if (unnamed_.size() > kUnsyncedPacksMax) {
    const Unnamed oldest = std::move(unnamed_.front());
    unnamed_.pop_front();
    TRY(give_name(oldest));
  }
  return {};
}

// A pack gets its name when its bytes are durable, so that no crash leaves a broken one behind.
Status LocalBackend::give_name(const Unnamed& pack) {
  if (!os::seeded(os::Bug::kPackSkipsSync)) {
    TRY_CONTEXT(os::sync_data(pack.file), "write pack " + pack.name);
  }
  TRY_ASSIGN(const os::Dir sub, pack_dir(pack.name));
  Status linked = sub.link_file(pack.file, pack.name);
  // The same bytes are there already: the name is their hash.
  if (!linked.ok() && linked.error().code() != Code::kExists) return linked;
  unsynced_dirs_.insert(pack.name.substr(0, 2));
  return {};
}

Status LocalBackend::flush() {
  const std::scoped_lock lock(mutex_);
  while (!unnamed_.empty()) {
    const Unnamed pack = std::move(unnamed_.front());
    unnamed_.pop_front();
    TRY(give_name(pack));
  }
  // A directory whose sync failed stays listed: no later flush may claim that its names are
  // durable.
  while (!unsynced_dirs_.empty()) {
    TRY_ASSIGN(const os::Dir sub, dir(FileKind::kPack).open_dir(*unsynced_dirs_.begin()));
    if (sync_failed_) return Error(Code::kUnavailable, "an earlier sync of the repository failed");
    sync_failed_ = true;
    TRY(sub.sync());
    sync_failed_ = false;
    unsynced_dirs_.erase(unsynced_dirs_.begin());
  }
  if (data_dir_unsynced_) TRY(dir(FileKind::kPack).sync());
  data_dir_unsynced_ = false;
  return {};
}

Status LocalBackend::take_back(const std::string& pack) {
  {
    const std::scoped_lock lock(mutex_);
    if (std::erase_if(unnamed_, [&pack](const Unnamed& one) { return one.name == pack; }) != 0) {
      return {};
    }
  }
  const Status removed = remove(FileKind::kPack, pack);
  return !removed.ok() && removed.error().code() == Code::kNotFound ? Status() : removed;
}

Status LocalBackend::remove(FileKind kind, const std::string& name) {
  TRY(check_name(kind, name));
  if (kind == FileKind::kConfig) return root_.remove_file("config");
  if (kind == FileKind::kPack) {
    // Not synced: a removed pack that comes back after a crash is only garbage again.
    TRY_ASSIGN(const os::Dir sub, dir(kind).open_dir(name.substr(0, 2)));
    return sub.remove_file(name);
  }
  TRY(dir(kind).remove_file(name));
  return kind == FileKind::kLock ? Status() : dir(kind).sync();
}

}  // namespace

Result<std::unique_ptr<Backend>> open_local(const std::string& path) {
  TRY_ASSIGN(os::Dir root, os::Dir::open(path));
  std::vector<os::Dir> dirs;
  for (const char* name : kDirNames) {
    TRY_ASSIGN(os::Dir dir, root.open_dir(name));
    dirs.push_back(std::move(dir));
  }
  // What lies on another machine may be listed from a cache of this one.
  TRY_ASSIGN(const os::FileSystem kind, os::file_system_of(root.fd()));
  return std::unique_ptr<Backend>(std::make_unique<LocalBackend>(
      path, std::move(root), std::move(dirs), kind != os::FileSystem::kOther));
}

Result<std::unique_ptr<Backend>> make_local(const std::string& path) {
  const std::filesystem::path full = std::filesystem::path(path).lexically_normal();
  const std::string name = full.has_filename() ? full.filename() : full.parent_path().filename();
  const std::string parent_path =
      full.has_filename() ? full.parent_path() : full.parent_path().parent_path();
  if (!full.is_absolute()) return Error(Code::kInvalid, "a repository's path must be absolute");
  TRY_ASSIGN(const os::Dir parent, os::Dir::open(parent_path));
  TRY_ASSIGN(os::Dir root, parent.ensure_dir(name, kDirMode));
  for (const char* part : kDirNames) {
    TRY_ASSIGN(os::Dir dir, root.ensure_dir(part, kDirMode));
  }
  TRY(root.sync());
  TRY(parent.sync());
  return open_local(path);
}

}  // namespace cairn::repository
