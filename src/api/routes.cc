#include "api/routes.h"

#include <array>

#include "api/handlers.h"

namespace cairn::api {

namespace {

using enum Method;
using enum Right;

constexpr Confirm kNone{};
constexpr Confirm kRemoveWorkload{"X-Confirm-Remove", "id"};
constexpr Confirm kRestore{"X-Confirm-Restore", "sid"};
constexpr Confirm kUndo{"X-Confirm-Restore", "uid"};
constexpr Confirm kDiscard{"X-Confirm-Remove", "uid"};

// clang-format off: one line a route reads as the table that it is.
// method, pattern, right, action, summary, request, response, success, confirmation, query, handler
constexpr std::array kRoutes = {
  Route{kGet, "/api/workloads", kAdmin, "workload.list", "All workloads", "", "WorkloadList", 200, kNone, "", list_workloads},
  Route{kPost, "/api/workloads", kAdmin, "workload.apply", "Make a workload, or replace its definition", "Definition", "Workload", 200, kNone, "", apply_workload},
  Route{kGet, "/api/workloads/{id}", kAdmin, "workload.show", "One workload, by id or name", "", "Workload", 200, kNone, "", show_workload},
  Route{kDelete, "/api/workloads/{id}", kAdmin, "workload.remove", "Remove a workload's containers and definition; volumes, snapshots and undos stay", "", "", 204, kRemoveWorkload, "wait", remove_workload},
  Route{kPost, "/api/workloads/{id}/deploy", kAdmin, "workload.deploy", "Bring a workload to an image", "DeployOptions", "DeployResult", 200, kNone, "", deploy_workload},
  Route{kPost, "/api/workloads/{id}/stop", kAdmin, "workload.stop", "Stop a workload and keep it stopped", "WaitOption", "Done", 200, kNone, "", stop_workload},
  Route{kPost, "/api/workloads/{id}/start", kAdmin, "workload.start", "Run a workload's current release again", "WaitOption", "Done", 200, kNone, "", start_workload},
  Route{kGet, "/api/workloads/{id}/logs", kAdmin, "workload.logs", "The newest container's output; with follow a stream of events", "", "Logs", 200, kNone, "follow tail timestamps", workload_logs},
  Route{kGet, "/api/workloads/{id}/volumes", kAdmin, "volume.list", "A workload's volumes in effect", "", "VolumeList", 200, kNone, "", list_volumes},
  Route{kPut, "/api/workloads/{id}/volumes", kAdmin, "volume.set", "Persist a volume that wins over an inline one; effective at the next deploy", "Volume", "VolumeList", 200, kNone, "", set_volume},
  Route{kDelete, "/api/workloads/{id}/volumes", kAdmin, "volume.unset", "Forget a persisted volume; no data is touched", "", "", 204, kNone, "target", unset_volume},

  Route{kGet, "/api/registries", kAdmin, "registry.list", "Registries with a login, without passwords", "", "RegistryList", 200, kNone, "", list_registries},
  Route{kPut, "/api/registries/{name}", kAdmin, "registry.set", "Store a registry and its login, or replace it; effective at the next pull", "RegistryLogin", "Registry", 200, kNone, "", set_registry},
  Route{kDelete, "/api/registries/{name}", kAdmin, "registry.remove", "Forget a registry that no workload names", "", "", 204, kNone, "", remove_registry},

  Route{kGet, "/api/workloads/{id}/snapshots", kAdmin, "snapshot.list", "A workload's snapshots, newest first", "", "SnapshotList", 200, kNone, "", list_snapshots},
  Route{kPost, "/api/workloads/{id}/snapshots", kAdmin, "snapshot.create", "Capture a workload's volumes; with dryRun only what it would do", "CaptureOptions", "Snapshot", 201, kNone, "dryRun", create_snapshot},
  Route{kGet, "/api/workloads/{id}/snapshots/{sid}", kAdmin, "snapshot.show", "One snapshot", "", "Snapshot", 200, kNone, "", show_snapshot},
  Route{kDelete, "/api/workloads/{id}/snapshots/{sid}", kAdmin, "snapshot.remove", "Remove a snapshot", "", "", 204, kNone, "", remove_snapshot},
  Route{kPost, "/api/workloads/{id}/snapshots/{sid}/restore", kAdmin, "snapshot.restore", "Put a snapshot onto the live volumes; with dryRun only the plan", "RestoreOptions", "RestoreResult", 200, kRestore, "dryRun", restore_snapshot},
  Route{kPost, "/api/workloads/{id}/snapshots/{sid}/verify", kAdmin, "snapshot.verify", "Read every byte of a snapshot back", "", "Snapshot", 200, kNone, "", verify_snapshot},
  Route{kPost, "/api/workloads/{id}/snapshots/import", kAdmin, "snapshot.import", "Store an archive as a snapshot of a workload, which is not touched", "Archive", "Snapshot", 201, kNone, "allow skip", import_snapshot},
  Route{kPost, "/api/workloads/{id}/snapshots/adopt", kAdmin, "snapshot.adopt", "Make a snapshot of a workload out of one that restic wrote into the repository; with dryRun only what it would be", "AdoptOptions", "Snapshot", 201, kNone, "dryRun", adopt_snapshot},
  Route{kGet, "/api/workloads/{id}/snapshots/{sid}/archive", kAdmin, "snapshot.download", "A snapshot as a tar archive compressed by gzip", "", "Archive", 200, kNone, "", download_snapshot},
  Route{kGet, "/api/snapshots", kAdmin, "snapshot.list_all", "Snapshots of all workloads, removed ones too", "", "SnapshotList", 200, kNone, "", list_all_snapshots},
  Route{kGet, "/api/snapshots/{sid}", kAdmin, "snapshot.find", "One snapshot of any workload", "", "Snapshot", 200, kNone, "", show_any_snapshot},

  Route{kGet, "/api/undos", kAdmin, "restore.list", "What restores left behind, newest first", "", "UndoList", 200, kNone, "workload", list_undos},
  Route{kGet, "/api/undos/{uid}", kAdmin, "restore.show", "One undo", "", "Undo", 200, kNone, "", show_undo},
  Route{kPost, "/api/undos/{uid}/undo", kAdmin, "restore.undo", "Put back the data that was there before a restore", "UndoOptions", "RestoreResult", 200, kUndo, "", apply_undo},
  Route{kPost, "/api/undos/{uid}/discard", kAdmin, "restore.discard", "Delete the data of an undo for good", "", "Done", 200, kDiscard, "", discard_undo},

  Route{kGet, "/api/operations", kAdmin, "operation.list", "Operations, newest first", "", "OperationList", 200, kNone, "workload limit", list_operations},
  Route{kGet, "/api/operations/{id}", kAdmin, "operation.show", "One operation", "", "Operation", 200, kNone, "", show_operation},
  Route{kDelete, "/api/operations/{id}", kAdmin, "operation.cancel", "Ask an operation to stop, before its point of no return", "", "Operation", 202, kNone, "", cancel_operation},
  Route{kGet, "/api/operations/{id}/events", kAdmin, "operation.events", "An operation's progress as Server-Sent Events, up to its end", "", "EventStream", 200, kNone, "", stream_operation},
  Route{kGet, "/api/events", kAdmin, "event.list", "What happened; with Accept: text/event-stream what happens", "", "EventList", 200, kNone, "workload after limit", list_events},
  Route{kGet, "/api/audit", kAdmin, "audit.list", "Who changed what, newest first", "", "AuditList", 200, kNone, "before limit", list_audit},

  Route{kGet, "/api/settings", kAdmin, "settings.list", "All settings", "", "SettingList", 200, kNone, "", list_settings},
  Route{kGet, "/api/settings/{key}", kAdmin, "settings.get", "One setting", "", "Setting", 200, kNone, "", get_setting},
  Route{kPut, "/api/settings/{key}", kAdmin, "settings.set", "Change a setting", "SettingValue", "Setting", 200, kNone, "", set_setting},
  Route{kDelete, "/api/settings/{key}", kAdmin, "settings.unset", "Go back to the config file's value or the default", "", "", 204, kNone, "", unset_setting},

  Route{kPost, "/api/repository/key-export", kAdmin, "repository.key_export", "The recovery kit: what opens the data if all else is lost", "", "RecoveryKit", 200, kNone, "", export_key},
  Route{kGet, "/api/system/fsck", kAdmin, "system.fsck", "Hold catalog, journal, repository, volumes and containers against each other", "", "Findings", 200, kNone, "", run_fsck},
  Route{kGet, "/api/system/info", kAdmin, "system.info", "The daemon and the engine", "", "Info", 200, kNone, "", system_info},

  Route{kGet, "/api/openapi.json", kAnyone, "system.openapi", "This document", "", "OpenApi", 200, kNone, "", openapi},
  Route{kGet, "/healthz", kAnyone, "system.health", "The daemon answers", "", "Health", 200, kNone, "", health},
  Route{kGet, "/readyz", kAnyone, "system.ready", "200 when no workload waits for recovery, else 503 with reasons", "", "Health", 200, kNone, "", readiness},
  Route{kGet, "/metrics", kAdmin, "system.metrics", "Gauges in the text format of Prometheus", "", "Metrics", 200, kNone, "", metrics},
};
// clang-format on

}  // namespace

std::span<const Route> all_routes() {
  return kRoutes;
}

}  // namespace cairn::api
