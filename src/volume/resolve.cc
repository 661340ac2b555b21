#include "volume/resolve.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "catalog/places.h"
#include "os/mount.h"

namespace cairn::volume {

namespace {

// Where a volume must never be. Symbolic links among them are followed when they are looked at.
constexpr std::string_view kNeverVolumes[] = {"/etc", "/usr", "/boot", "/proc", "/sys",  "/dev",
                                              "/run", "/bin", "/sbin", "/lib",  "/lib64"};
constexpr std::uint32_t kPlaceMode = 0755;

// Which directory it is, however it is reached: bind mounts and links included.
using Identity = std::pair<std::uint64_t, std::uint64_t>;  // device, inode

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string name_of_path(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::optional<Identity> identity_of(const std::string& path) {
  const auto dir = os::Dir::open(path);
  if (!dir.ok()) return std::nullopt;
  const auto stat = dir->stat();
  if (!stat.ok()) return std::nullopt;
  return Identity{stat->device, stat->inode};
}

// Of the directory at path and of all above it; what does not exist is left out.
std::vector<Identity> identities_upward(const std::string& path) {
  std::string at = path;
  const auto opened = os::Dir::open(path);
  if (opened.ok()) at = os::path_of(opened->fd()).value_or(path);
  std::vector<Identity> out;
  while (true) {
    if (const auto identity = identity_of(at)) out.push_back(*identity);
    if (at == "/") return out;
    at = parent_of(at);
  }
}

bool contains(const std::vector<Identity>& all, const Identity& one) {
  return std::ranges::find(all, one) != all.end();
}

// Why the place may not be a volume, if it may not. Cairn's data directory is forbidden but for
// what lies beneath base_volume_path, and beneath its default: volumes stay there when it changes.
std::optional<std::string> forbidden_because(const std::string& path,
                                             const PlaceSettings& settings) {
  const std::vector<Identity> upward = identities_upward(path);
  const auto itself = identity_of(path);
  if (path == "/") return "the root directory cannot be a volume";
  const auto check = [&](const std::string& place, bool beneath_too) -> bool {
    const auto theirs = identity_of(place);
    if (!theirs)
      return os::is_at_or_below(place, path) || (beneath_too && os::is_at_or_below(path, place));
    if (beneath_too && contains(upward, *theirs)) return true;
    return itself && contains(identities_upward(place), *itself);
  };
  for (const std::string_view place : kNeverVolumes) {
    if (check(std::string(place), true))
      return fmt::format("it equals, contains or lies in {}", place);
  }
  for (const std::string& place : settings.forbidden_paths) {
    if (check(place, true)) return fmt::format("it equals, contains or lies in {}", place);
  }
  const std::string& base = settings.base_volume_path;
  const std::string default_base = settings.data_dir + "/volumes";
  const bool in_base = (path != base && os::is_at_or_below(path, base)) ||
                       (path != default_base && os::is_at_or_below(path, default_base));
  if (check(settings.data_dir, !in_base)) return "it equals, contains or lies in Cairn's own data";
  if (!settings.engine_socket.empty() && check(parent_of(settings.engine_socket), false) &&
      os::is_at_or_below(settings.engine_socket, path)) {
    return "it contains the engine's socket";
  }
  return std::nullopt;
}

Error refused(std::string code, std::string detail) {
  ErrorDetail more;
  more.reasons.push_back({"", std::move(code), detail});
  return Error(Code::kRefused, std::move(detail), std::move(more));
}

Result<ResolvedVolume> resolve_beneath_base(catalog::Catalog& catalog,
                                            const PlaceSettings& settings,
                                            const std::string& workload_id,
                                            const DeclaredVolume& declared,
                                            ResolvedVolume volume) {
  volume.relative = workload_id + "/" + declared.source;
  volume.base = settings.base_volume_path;
  const std::string key = catalog::place_key(scope_name(declared.scope), declared.source);
  TRY_ASSIGN(const std::optional<catalog::Place> known, catalog.places().find(workload_id, key));
  if (!known) return volume;
  // Written down at first use: a base path that was changed since does not move the data.
  const std::string& path = known->path_or_name;
  const std::string suffix = "/" + volume.relative;
  if (known->kind != catalog::PlaceKind::kBind || !path.ends_with(suffix) ||
      path.size() == suffix.size()) {
    return refused("unresolved", "its recorded place " + printable(path) + " does not fit it");
  }
  volume.base = path.substr(0, path.size() - suffix.size());
  return volume;
}

Result<ResolvedVolume> resolve_absolute(const PlaceSettings& settings,
                                        const DeclaredVolume& declared,
                                        ResolvedVolume volume) {
  const std::string* best = nullptr;
  for (const std::string& allowed : settings.allowed_paths) {
    if (os::is_at_or_below(declared.source, allowed) &&
        (best == nullptr || allowed.size() > best->size())) {
      best = &allowed;
    }
  }
  if (best == nullptr) {
    return refused("outside_allowed_paths",
                   printable(declared.source) +
                       " is in none of allowed_volume_paths (cairn system settings set "
                       "allowed_volume_paths PATH)");
  }
  volume.base = declared.source == *best ? parent_of(*best) : *best;
  volume.relative = volume.base == "/" ? declared.source.substr(1)
                                       : declared.source.substr(volume.base.size() + 1);
  return volume;
}

Result<ResolvedVolume> resolve_one(catalog::Catalog& catalog,
                                   const PlaceSettings& settings,
                                   const std::string& workload_id,
                                   const DeclaredVolume& declared) {
  ResolvedVolume volume;
  volume.target = declared.target;
  volume.scope = declared.scope;
  volume.source = declared.source;
  switch (declared.scope) {
    case Scope::kEphemeral:
      volume.kind = ResolvedVolume::Kind::kTmpfs;
      return volume;
    case Scope::kAbsolute:
      return resolve_absolute(settings, declared, std::move(volume));
    case Scope::kStage:
    case Scope::kProject:
      return resolve_beneath_base(catalog, settings, workload_id, declared, std::move(volume));
    case Scope::kInstance:
    case Scope::kNamed:
    case Scope::kProjectNamed:
      break;
  }
  return refused("unsupported_scope",
                 fmt::format("scope {} is not supported by this version: use absolute, stage, "
                             "project or ephemeral",
                             scope_name(declared.scope)));
}

// Adds a reason to each of two volumes that share or nest their places or targets.
void refuse_shared(const std::vector<ResolvedVolume>& volumes, std::vector<Reason>& reasons) {
  for (const ResolvedVolume& a : volumes) {
    for (const ResolvedVolume& b : volumes) {
      if (a.target == b.target || a.kind != ResolvedVolume::Kind::kBind ||
          b.kind != ResolvedVolume::Kind::kBind) {
        continue;
      }
      const auto itself = identity_of(a.path());
      const bool same = itself && contains(identities_upward(b.path()), *itself);
      if (same || os::is_at_or_below(b.path(), a.path())) {
        reasons.push_back({a.target, "shared_place",
                           fmt::format("its place {} is or contains that of {}",
                                       printable(a.path()), printable(b.target))});
      }
    }
  }
}

}  // namespace

Result<std::vector<DeclaredVolume>> effective_volumes(
    catalog::Catalog& catalog,
    const std::string& workload_id,
    const std::vector<DeclaredVolume>& inline_volumes) {
  TRY_ASSIGN(const std::vector<catalog::VolumeRow> rows, catalog.volumes().list(workload_id));
  std::vector<DeclaredVolume> persisted;
  for (const catalog::VolumeRow& row : rows) {
    TRY_ASSIGN(DeclaredVolume volume, check_volume(row));
    persisted.push_back(std::move(volume));
  }
  return merge_volumes(inline_volumes, persisted);
}

Result<Resolution> resolve_volumes(catalog::Catalog& catalog,
                                   const PlaceSettings& settings,
                                   const std::string& workload_id,
                                   const std::vector<DeclaredVolume>& declared) {
  Resolution out;
  for (const DeclaredVolume& one : declared) {
    auto volume = resolve_one(catalog, settings, workload_id, one);
    if (!volume.ok()) {
      if (volume.error().code() != Code::kRefused) return volume.error();
      Reason reason = volume.error().detail().reasons.at(0);
      reason.target = one.target;
      out.reasons.push_back(std::move(reason));
      continue;
    }
    if (volume->kind == ResolvedVolume::Kind::kBind) {
      if (auto why = forbidden_because(volume->path(), settings)) {
        out.reasons.push_back({one.target, "forbidden_place",
                               printable(volume->path()) + " cannot be a volume: " + *why});
        continue;
      }
      const auto place = open_place(*volume);
      if (!place.ok() && place.error().code() != Code::kNotFound) {
        out.reasons.push_back({one.target, "unresolved", place.error().message()});
        continue;
      }
    }
    out.volumes.push_back(std::move(*volume));
  }
  refuse_shared(out.volumes, out.reasons);
  return out;
}

Result<RootPlace> open_place(const ResolvedVolume& volume) {
  TRY_ASSIGN(os::Dir parent, os::Dir::open(volume.base));
  const std::size_t slash = volume.relative.rfind('/');
  std::string name = volume.relative;
  if (slash != std::string::npos) {
    name = volume.relative.substr(slash + 1);
    auto inner = parent.open_dir(volume.relative.substr(0, slash));
    if (!inner.ok()) return inner.error().with_context("volume " + printable(volume.target));
    parent = std::move(*inner);
  }
  TRY(os::check_component(name));
  TRY_ASSIGN(const std::optional<os::Stat> root, parent.find(name));
  if (root && root->type != os::FileType::kDirectory) {
    return Error(Code::kInvalid, "volume " + printable(volume.target) + ": " +
                                     printable(volume.path()) + " is not a directory");
  }
  return RootPlace{std::move(parent), std::move(name)};
}

Status make_place(catalog::Catalog& catalog,
                  const std::string& workload_id,
                  const ResolvedVolume& volume) {
  if (volume.kind == ResolvedVolume::Kind::kTmpfs) return {};
  auto base = os::Dir::open(volume.base);
  if (!base.ok() && base.error().code() == Code::kNotFound) {
    TRY_ASSIGN(const os::Dir above, os::Dir::open(parent_of(volume.base)));
    base = above.ensure_dir(name_of_path(volume.base), kPlaceMode);
    TRY(above.sync());
  }
  if (!base.ok()) return base.error();
  // The row first: what is on disk without one could not be found.
  TRY_ASSIGN(const catalog::Place place,
             catalog.places().insert_once(
                 {.workload_id = workload_id,
                  .key = catalog::place_key(scope_name(volume.scope), volume.source),
                  .kind = catalog::PlaceKind::kBind,
                  .path_or_name = volume.path(),
                  .created_ms = 0}));
  if (place.path_or_name != volume.path()) {
    return Error(Code::kConflict, "volume " + printable(volume.target) + " has its place at " +
                                      printable(place.path_or_name));
  }
  os::Dir at = std::move(*base);
  for (const std::string& part : split(volume.relative, '/')) {
    TRY_ASSIGN(os::Dir next, at.ensure_dir(part, kPlaceMode));
    TRY(at.sync());
    at = std::move(next);
  }
  return {};
}

std::vector<std::string> lock_keys(const std::string& workload_id,
                                   const std::vector<ResolvedVolume>& volumes) {
  std::vector<std::string> keys{"workload:" + workload_id};
  for (const ResolvedVolume& volume : volumes) {
    if (volume.kind != ResolvedVolume::Kind::kBind) continue;
    std::string path = volume.path();
    if (const auto place = open_place(volume); place.ok()) {
      if (const auto parent = os::path_of(place->parent.fd()); parent.ok()) {
        path = *parent + "/" + place->name;
      }
    }
    keys.push_back("volume:" + path);
  }
  return keys;
}

}  // namespace cairn::volume
