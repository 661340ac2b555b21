// resolve: from a declared volume to its place on this machine. The current config decides, never a
// snapshot's manifest. A place is written down in the catalog at first use and never computed
// again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "docker/engine.h"
#include "os/dir.h"
#include "volume/declared.h"

namespace cairn::volume {

// What the administrator set; read once an operation.
struct PlaceSettings {
  std::string data_dir;                      // Cairn's own data, never a volume
  std::string base_volume_path;              // of stage, project and instance
  std::vector<std::string> allowed_paths;    // of absolute
  std::vector<std::string> forbidden_paths;  // the engine's roots, beside the built-in list
  std::string engine_socket;
  std::string instance_tag;          // of instance; empty: the current release's tag
  docker::Engine* engine = nullptr;  // that keeps the named volumes
};

struct ResolvedVolume {
  enum class Kind { kBind, kVolume, kTmpfs };
  Kind kind = Kind::kBind;
  std::string target;
  Scope scope = Scope::kStage;
  std::string source;  // the declared source; of a named scope its declared name
  std::string name;    // kVolume: the engine's name of it
  // `base` is opened as the administrator wrote it, `relative` beneath it without following any
  // link, never with "..". Both are empty for kTmpfs, and for kVolume until the engine has it.
  std::string base;
  std::string relative;
  // kVolume whose data lies elsewhere: where the engine mounts that while a container uses it.
  std::string engine_mount;
  // Why it can be mounted but neither captured nor restored; its target is the volume's.
  std::optional<Reason> obstacle;
  [[nodiscard]] std::string path() const {
    return relative.empty() ? "" : (base == "/" ? "" : base) + "/" + relative;
  }
  // What a container mounts and the catalog writes down: the engine's name, or the path.
  [[nodiscard]] std::string place() const { return kind == Kind::kVolume ? name : path(); }
  bool operator==(const ResolvedVolume&) const = default;
};

struct Resolution {
  std::vector<ResolvedVolume> volumes;  // in byte order of target
  std::vector<Reason> reasons;          // of those that did not resolve, all of them
};

// The parent directory of a volume's root, held open, and the root's name in it.
struct RootPlace {
  os::Dir parent;
  std::string name;
};

// The volumes in effect: a config's, overlaid by the persisted rows.
Result<std::vector<DeclaredVolume>> effective_volumes(
    catalog::Catalog& catalog,
    const std::string& workload_id,
    const std::vector<DeclaredVolume>& inline_volumes);

// Resolves every volume. Reasons: "outside_allowed_paths", "forbidden_place", "shared_place" (the
// same as, within or around another volume of this workload), "unresolved". Obstacles of those that
// resolve: "unsupported_driver", "single_file", "unresolved" (the engine is down). Reads the
// catalog, the engine's volumes and the file system, changes nothing.
Result<Resolution> resolve_volumes(catalog::Catalog& catalog,
                                   const PlaceSettings& settings,
                                   const std::string& workload_id,
                                   const std::vector<DeclaredVolume>& declared);

// Makes what is missing of a volume's place (directories 0755, owned by root; a volume of the
// engine), writes the place down in the catalog, both durably. A volume that the engine had to make
// is located then. Call with the workload's lock.
Status make_place(catalog::Catalog& catalog,
                  docker::Engine& engine,
                  const std::string& workload_id,
                  ResolvedVolume& volume);

// Opens the parent of the root; kInvalid where a link or a file is in the way, kRefused with the
// obstacle, kNotFound where the parent or the engine's volume is not there.
Result<RootPlace> open_place(const ResolvedVolume& volume);
// Why open_place failed, as the code of a skipped volume: the obstacle's, or "unresolved".
std::string skip_code(const Error& error);

// The key of the volume's row among the places.
std::string key_of_place(const std::string& workload_id, const ResolvedVolume& volume);

// The lock keys of a workload and its volumes: sorted by LockTable.
std::vector<std::string> lock_keys(const std::string& workload_id,
                                   const std::vector<ResolvedVolume>& volumes);

}  // namespace cairn::volume
