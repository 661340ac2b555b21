#include "volume/resolve.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "catalog/places.h"
#include "os/mount.h"
#include "volume/named.h"

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

// Of the directory at path and of all above it, wherever links lead; what is missing, or a file, is
// left out.
std::vector<Identity> identities_upward(const std::string& path) {
  std::string at = path;
  while (at != "/") {
    const auto opened = os::Dir::open(at);
    if (opened.ok()) {
      if (auto walked = os::path_of(opened->fd()); walked.ok()) at = std::move(*walked);
      break;
    }
    at = parent_of(at);
  }
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
                                            const std::string& beneath,
                                            ResolvedVolume volume) {
  volume.relative = workload_id + "/" + beneath;
  volume.base = settings.base_volume_path;
  TRY_ASSIGN(const std::optional<catalog::Place> known,
             catalog.places().find(workload_id, key_of_place(workload_id, volume)));
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

// A directory for each tag, so that a release never meets the data of another one.
Result<ResolvedVolume> resolve_instance(catalog::Catalog& catalog,
                                        const PlaceSettings& settings,
                                        const std::string& workload_id,
                                        ResolvedVolume volume) {
  std::string tag = settings.instance_tag;
  if (tag.empty()) {
    TRY_ASSIGN(const auto release, catalog.releases().current(workload_id));
    if (!release) {
      return refused("unresolved", "it has a place for each tag, and nothing is deployed yet");
    }
    tag = release->tag;
  }
  const std::string beneath = "instance-" + tag + "/" + volume.source;
  return resolve_beneath_base(catalog, settings, workload_id, beneath, std::move(volume));
}

Result<ResolvedVolume> resolve_named(catalog::Catalog& catalog,
                                     const PlaceSettings& settings,
                                     const std::string& workload_id,
                                     const DeclaredVolume& declared,
                                     ResolvedVolume volume) {
  volume.kind = ResolvedVolume::Kind::kVolume;
  volume.source = declared.name;
  volume.name = declared.scope == Scope::kNamed ? declared.name
                                                : "cairn-" + workload_id + "-" + declared.name;
  TRY_ASSIGN(const std::optional<catalog::Place> known,
             catalog.places().find(workload_id, key_of_place(workload_id, volume)));
  if (known && known->kind != catalog::PlaceKind::kVolume) {
    return refused("unresolved",
                   "its recorded place " + printable(known->path_or_name) + " is no volume");
  }
  if (known) volume.name = known->path_or_name;
  if (settings.engine != nullptr) TRY(locate_volume(*settings.engine, volume));
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
      return resolve_beneath_base(catalog, settings, workload_id, declared.source,
                                  std::move(volume));
    case Scope::kInstance:
      return resolve_instance(catalog, settings, workload_id, std::move(volume));
    case Scope::kNamed:
    case Scope::kProjectNamed:
      break;
  }
  return resolve_named(catalog, settings, workload_id, declared, std::move(volume));
}

// Adds a reason to each of two volumes that share or nest their places or targets.
void refuse_shared(const std::vector<ResolvedVolume>& volumes, std::vector<Reason>& reasons) {
  for (const ResolvedVolume& a : volumes) {
    for (const ResolvedVolume& b : volumes) {
      if (a.target == b.target) continue;
      bool same = !a.name.empty() && a.name == b.name;
      if (!a.path().empty() && !b.path().empty()) {
        const auto itself = identity_of(a.path());
        same = same || (itself && contains(identities_upward(b.path()), *itself)) ||
               os::is_at_or_below(b.path(), a.path());
      }
      if (same) {
        reasons.push_back({a.target, "shared_place",
                           fmt::format("its place {} is or contains that of {}",
                                       printable(a.place()), printable(b.target))});
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
    // What the engine keeps beneath its own root is no stranger's.
    const bool chosen =
        volume->kind == ResolvedVolume::Kind::kBind || !volume->engine_mount.empty();
    if (auto why = chosen ? forbidden_because(volume->path(), settings) : std::nullopt) {
      out.reasons.push_back({one.target, "forbidden_place",
                             printable(volume->path()) + " cannot be a volume: " + *why});
      continue;
    }
    if (volume->kind != ResolvedVolume::Kind::kTmpfs) {
      const auto place = open_place(*volume);
      if (!place.ok() && place.error().code() == Code::kRefused) {
        volume->obstacle = place.error().detail().reasons.at(0);
      } else if (!place.ok() && place.error().code() != Code::kNotFound) {
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
  if (volume.obstacle) {
    return Error(Code::kRefused, volume.obstacle->detail, {.reasons = {*volume.obstacle}});
  }
  if (volume.relative.empty()) {
    return Error(Code::kNotFound, "the engine has no volume " + printable(volume.name));
  }
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
  if (root && root->type == os::FileType::kRegular && volume.scope == Scope::kAbsolute) {
    Reason reason{volume.target, "single_file",
                  printable(volume.path()) +
                      " is a single file, and a restore exchanges directories: declare the "
                      "directory around it to have it captured"};
    return Error(Code::kRefused, reason.detail, {.reasons = {reason}});
  }
  if (root && root->type != os::FileType::kDirectory) {
    return Error(Code::kInvalid, "volume " + printable(volume.target) + ": " +
                                     printable(volume.path()) + " is not a directory");
  }
  return RootPlace{std::move(parent), std::move(name)};
}

std::string skip_code(const Error& error) {
  return error.code() == Code::kRefused && !error.detail().reasons.empty()
             ? error.detail().reasons.front().code
             : "unresolved";
}

std::string key_of_place(const std::string& workload_id, const ResolvedVolume& volume) {
  // Each tag's place of an instance volume has a row of its own.
  const std::string about = volume.scope == Scope::kInstance
                                ? volume.relative.substr(workload_id.size() + 1)
                                : volume.source;
  return catalog::place_key(scope_name(volume.scope), about);
}

namespace {

// The row first: what is on disk or in the engine without one could not be found.
Status write_down(catalog::Catalog& catalog,
                  const std::string& workload_id,
                  const ResolvedVolume& volume) {
  const bool named = volume.kind == ResolvedVolume::Kind::kVolume;
  TRY_ASSIGN(const catalog::Place place,
             catalog.places().insert_once(
                 {.workload_id = workload_id,
                  .key = key_of_place(workload_id, volume),
                  .kind = named ? catalog::PlaceKind::kVolume : catalog::PlaceKind::kBind,
                  .path_or_name = volume.place(),
                  .created_ms = 0}));
  if (place.path_or_name == volume.place()) return {};
  return Error(Code::kConflict, "volume " + printable(volume.target) + " has its place at " +
                                    printable(place.path_or_name));
}

}  // namespace

Status make_place(catalog::Catalog& catalog,
                  docker::Engine& engine,
                  const std::string& workload_id,
                  ResolvedVolume& volume) {
  if (volume.kind == ResolvedVolume::Kind::kTmpfs) return {};
  std::optional<os::Dir> at;
  if (!volume.obstacle && volume.kind == ResolvedVolume::Kind::kBind) {
    auto base = os::Dir::open(volume.base);
    if (!base.ok() && base.error().code() == Code::kNotFound) {
      TRY_ASSIGN(const os::Dir above, os::Dir::open(parent_of(volume.base)));
      base = above.ensure_dir(name_of_path(volume.base), kPlaceMode);
      TRY(above.sync());
    }
    if (!base.ok()) return base.error();
    at = std::move(*base);
  }
  TRY(write_down(catalog, workload_id, volume));
  if (volume.obstacle) return {};
  if (!at) {
    if (volume.relative.empty()) {
      TRY(engine.create_volume(volume.name, {}));
      TRY(locate_volume(engine, volume));
    }
    TRY_ASSIGN(at, os::Dir::open(volume.base));
  }
  for (const std::string& part : split(volume.relative, '/')) {
    TRY_ASSIGN(os::Dir next, at->ensure_dir(part, kPlaceMode));
    TRY(at->sync());
    at = std::move(next);
  }
  return {};
}

std::vector<std::string> lock_keys(const std::string& workload_id,
                                   const std::vector<ResolvedVolume>& volumes) {
  std::vector<std::string> keys{"workload:" + workload_id};
  for (const ResolvedVolume& volume : volumes) {
    if (volume.kind == ResolvedVolume::Kind::kTmpfs) continue;
    // By name too: where its data lies cannot be asked while the engine is down.
    if (!volume.name.empty()) keys.push_back("volume:engine:" + volume.name);
    std::string path = volume.path();
    if (path.empty()) continue;
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
