// Catalog: what Cairn knows, in one SQLite file (DATA/catalog.db, schema.sql). WAL with
// synchronous=FULL: what a write function returned as done survives a loss of power. It may only
// name what is durable already (docs/ordering.md).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/audit.h"
#include "catalog/events.h"
#include "catalog/instances.h"
#include "catalog/operations.h"
#include "catalog/places.h"
#include "catalog/registries.h"
#include "catalog/releases.h"
#include "catalog/settings.h"
#include "catalog/snapshots.h"
#include "catalog/undos.h"
#include "catalog/volumes.h"
#include "catalog/workloads.h"
#include "codec/sealer.h"

namespace cairn::catalog {

inline constexpr std::string_view kCatalogFile = "catalog.db";
// A file that holds room for the catalog's rows on a disk that is full.
inline constexpr std::string_view kReserveFile = "catalog.reserve";
inline constexpr std::size_t kReserveBytes = std::size_t{4} << 20U;

// What `system fsck` found, here and on the floors above.
struct Finding {
  std::string code;     // of docs/operations.md, "Look after it"
  std::string subject;  // what it is about: an id, a name, a path
  std::string detail;   // a sentence
};

// Thread-safe.
class Catalog {
 public:
  // Opens or makes DATA/catalog.db (0600) and brings it to this version's schema; before a
  // migration the old file is copied to catalog.db.before-v<version>. The caller holds the data
  // directory's lock. kConflict: made by a newer major version. kCorrupt: not a catalog, damaged,
  // or sealed with another key. On a full disk the reserve file is given up, so that a recovery can
  // begin.
  static Result<std::unique_ptr<Catalog>> open(const std::string& data_directory,
                                               const codec::Sealer& sealer);
  ~Catalog();
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  WorkloadTable& workloads();
  VolumeTable& volumes();
  PlaceTable& places();
  ReleaseTable& releases();
  InstanceTable& instances();
  SnapshotTable& snapshots();
  UndoTable& undos();
  OperationTable& operations();
  EventTable& events();
  AuditTable& audit();
  SettingTable& settings();
  RegistryTable& registries();
  [[nodiscard]] const codec::Sealer& sealer() const;

  // Runs body, which calls tables from this thread, in one transaction: all of it is durable when
  // this returns, or nothing of it happened when body or the commit fails. Other threads wait
  // meanwhile, so body only reads and writes the catalog; no wait_ functions. Nests.
  Status atomically(const std::function<Status()>& body);

  // Operations that were running when the catalog was last in use, now kInterrupted.
  [[nodiscard]] const std::vector<OperationRow>& interrupted() const;

  // Gives up the reserve file: for what leads out of a full disk (recovery, undo, removal) after a
  // kNoSpace; then try again. The file is made anew at a start that finds room. Fine where it is
  // gone already.
  Status release_reserve();

  // What SQLite's integrity and foreign key checks, and rows that do not decode, complain about;
  // empty when all is well: "catalog_damaged", "catalog_dangling", "catalog_undecodable".
  Result<std::vector<Finding>> check();

 private:
  struct Parts;
  explicit Catalog(std::unique_ptr<Parts> parts);
  static Result<std::unique_ptr<Catalog>> open_once(const std::string& data_directory,
                                                    const codec::Sealer& sealer);
  std::unique_ptr<Parts> parts_;
};

}  // namespace cairn::catalog
