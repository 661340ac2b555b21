// resolve: from a declared volume to its place on this machine. The current config decides, never a
// snapshot's manifest. A place is written down in the catalog at first use and never computed
// again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "os/dir.h"
#include "volume/declared.h"

namespace cairn::volume {

// What the administrator set; read once an operation.
struct PlaceSettings {
  std::string data_dir;                      // Cairn's own data, never a volume
  std::string base_volume_path;              // of stage and project
  std::vector<std::string> allowed_paths;    // of absolute
  std::vector<std::string> forbidden_paths;  // the engine's roots, beside the built-in list
  std::string engine_socket;
};

struct ResolvedVolume {
  enum class Kind { kBind, kTmpfs };
  Kind kind = Kind::kBind;
  std::string target;
  Scope scope = Scope::kStage;
  std::string source;
  // For kBind: `base` is opened as the administrator wrote it, `relative` beneath it without
  // following any link. Never empty, never with "..".
  std::string base;
  std::string relative;
  [[nodiscard]] std::string path() const { return (base == "/" ? "" : base) + "/" + relative; }
  bool operator==(const ResolvedVolume&) const = default;
};

struct Resolution {
  std::vector<ResolvedVolume> volumes;  // in byte order of target
  std::vector<Reason> reasons;          // of those that did not resolve, all of them
};

// The parent directory of a bind volume's root, held open, and the root's name in it.
struct RootPlace {
  os::Dir parent;
  std::string name;
};

// The volumes in effect: a config's, overlaid by the persisted rows.
Result<std::vector<DeclaredVolume>> effective_volumes(
    catalog::Catalog& catalog,
    const std::string& workload_id,
    const std::vector<DeclaredVolume>& inline_volumes);

// Resolves every volume. Reasons: "unsupported_scope", "outside_allowed_paths", "forbidden_place",
// "shared_place" (the same as, within or around another volume of this workload), "unresolved".
// Reads the catalog and the file system, changes nothing.
Result<Resolution> resolve_volumes(catalog::Catalog& catalog,
                                   const PlaceSettings& settings,
                                   const std::string& workload_id,
                                   const std::vector<DeclaredVolume>& declared);

// Makes what is missing of a bind volume's place (directories 0755, owned by root), writes the
// place down in the catalog, both durably. Call with the workload's lock.
Status make_place(catalog::Catalog& catalog,
                  const std::string& workload_id,
                  const ResolvedVolume& volume);

// Opens the parent of the root; kInvalid where a link or a file is in the way.
Result<RootPlace> open_place(const ResolvedVolume& volume);

// The lock keys of a workload and its bind volumes: sorted by LockTable.
std::vector<std::string> lock_keys(const std::string& workload_id,
                                   const std::vector<ResolvedVolume>& volumes);

}  // namespace cairn::volume
