#include "catalog/catalog.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "catalog/schema.h"
#include "catalog/store.h"
#include "os/dir.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::uint32_t kReserveMode = 0600;
// The reserve is for others' full disks: it is not made where it would itself fill the disk.
constexpr std::uint64_t kReserveRoomFactor = 4;

}  // namespace

struct Catalog::Parts {
  explicit Parts(std::unique_ptr<Store> opened) : store(std::move(opened)) {}

  std::unique_ptr<Store> store;
  WorkloadTable workloads{*store};
  VolumeTable volumes{*store};
  PlaceTable places{*store};
  ReleaseTable releases{*store};
  InstanceTable instances{*store};
  SnapshotTable snapshots{*store};
  UndoTable undos{*store};
  OperationTable operations{*store};
  EventTable events{*store};
  AuditTable audit{*store};
  SettingTable settings{*store};
  RegistryTable registries{*store};
  std::vector<OperationRow> interrupted;
};

namespace {

// True where there was one to give up.
Result<bool> remove_reserve(const os::Dir& data) {
  const std::string name(kReserveFile);
  TRY_ASSIGN(const auto there, data.find(name));
  if (!there) return false;
  TRY(data.remove_file(name));
  TRY(data.sync());
  return true;
}

// Best effort: a disk without room now may have it at the next start.
void ensure_reserve(const os::Dir& data) {
  const std::string name(kReserveFile);
  const auto there = data.find(name);
  if (!there.ok() || there->has_value()) return;
  const auto space = os::space_of(data.fd());
  if (!space.ok() || space->available_bytes < kReserveRoomFactor * kReserveBytes) return;
  const Bytes zeros(kReserveBytes);
  const Status made = data.publish_file(name, zeros, kReserveMode);
  if (!made.ok()) log::warn("make {}: {}", name, made.error().message());
}

}  // namespace

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& data_directory,
                                               const codec::Sealer& sealer) {
  TRY_ASSIGN(const os::Dir data, os::Dir::open(data_directory));
  auto opened = open_once(data_directory, sealer);
  // SQLite says "unable to open" as well where its -shm file finds no room.
  if (!opened.ok() &&
      (opened.error().code() == Code::kNoSpace || opened.error().code() == Code::kUnavailable)) {
    TRY_ASSIGN(const bool released, remove_reserve(data));
    if (!released) return opened;
    log::warn("{}; the reserve file is given up", opened.error().message());
    opened = open_once(data_directory, sealer);
  }
  if (opened.ok()) ensure_reserve(data);
  return opened;
}

Result<std::unique_ptr<Catalog>> Catalog::open_once(const std::string& data_directory,
                                                    const codec::Sealer& sealer) {
  TRY_ASSIGN(auto store, Store::open(data_directory, sealer, current_schema()));
  auto parts = std::make_unique<Parts>(std::move(store));
  TRY_ASSIGN(parts->interrupted, parts->operations.interrupt_running());
  return std::unique_ptr<Catalog>(new Catalog(std::move(parts)));
}

Status Catalog::release_reserve() {
  TRY_ASSIGN(const os::Dir data, os::Dir::open(parts_->store->data_directory()));
  TRY(remove_reserve(data));
  return {};
}

Catalog::Catalog(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Catalog::~Catalog() = default;

WorkloadTable& Catalog::workloads() {
  return parts_->workloads;
}
VolumeTable& Catalog::volumes() {
  return parts_->volumes;
}
PlaceTable& Catalog::places() {
  return parts_->places;
}
ReleaseTable& Catalog::releases() {
  return parts_->releases;
}
InstanceTable& Catalog::instances() {
  return parts_->instances;
}
SnapshotTable& Catalog::snapshots() {
  return parts_->snapshots;
}
UndoTable& Catalog::undos() {
  return parts_->undos;
}
OperationTable& Catalog::operations() {
  return parts_->operations;
}
EventTable& Catalog::events() {
  return parts_->events;
}
AuditTable& Catalog::audit() {
  return parts_->audit;
}
SettingTable& Catalog::settings() {
  return parts_->settings;
}
RegistryTable& Catalog::registries() {
  return parts_->registries;
}
const codec::Sealer& Catalog::sealer() const {
  return parts_->store->sealer();
}
const std::vector<OperationRow>& Catalog::interrupted() const {
  return parts_->interrupted;
}

Status Catalog::atomically(const std::function<Status()>& body) {
  auto database = parts_->store->lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(body());
  return transaction.commit();
}

Result<std::vector<Finding>> Catalog::check() {
  std::vector<Finding> findings;
  {
    auto database = parts_->store->lock();
    TRY_ASSIGN(auto complaints, database->check());
    for (std::string& text : complaints.damage) {
      findings.push_back({"catalog_damaged", std::string(kCatalogFile), std::move(text)});
    }
    for (std::string& text : complaints.dangling) {
      findings.push_back({"catalog_dangling", std::string(kCatalogFile), std::move(text)});
    }
  }
  // A table is read as its users read it: states, JSON and sealed columns are checked on the way.
  const auto note = [&findings](std::string_view table, const auto& rows) {
    if (rows.ok()) return;
    findings.push_back({"catalog_undecodable", std::string(table), rows.error().message()});
  };
  const auto workloads = parts_->workloads.list();
  note("workloads", workloads);
  note("places", parts_->places.list(""));
  note("instances", parts_->instances.list(""));
  note("snapshots", parts_->snapshots.list(""));
  note("undos", parts_->undos.list(""));
  note("operations", parts_->operations.list("", kOperationsPerListMax));
  note("events", parts_->events.list(0, "", kEventsPerListMax));
  note("audit", parts_->audit.list(0, kAuditEntriesPerListMax));
  note("settings", parts_->settings.all());
  note("registries", parts_->registries.list());
  if (workloads.ok()) {
    for (const Workload& workload : *workloads) {
      note("releases", parts_->releases.list(workload.id));
      note("volumes", parts_->volumes.list(workload.id));
    }
  }
  return findings;
}

}  // namespace cairn::catalog
