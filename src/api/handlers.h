// The handlers of the routes (api/routes.cc), each decode -> engine -> encode. Declared in the
// order of the table.
#pragma once

#include "api/http.h"
#include "api/services.h"

namespace cairn::api {

// handlers_workloads.cc
Response list_workloads(Services& services, Request& request);
Response apply_workload(Services& services, Request& request);
Response show_workload(Services& services, Request& request);
Response remove_workload(Services& services, Request& request);
Response deploy_workload(Services& services, Request& request);
Response stop_workload(Services& services, Request& request);
Response start_workload(Services& services, Request& request);
Response list_volumes(Services& services, Request& request);
Response set_volume(Services& services, Request& request);
Response unset_volume(Services& services, Request& request);

// handlers_registries.cc
Response list_registries(Services& services, Request& request);
Response set_registry(Services& services, Request& request);
Response remove_registry(Services& services, Request& request);

// handlers_logs.cc
Response workload_logs(Services& services, Request& request);

// handlers_snapshots.cc
Response list_all_snapshots(Services& services, Request& request);
Response show_any_snapshot(Services& services, Request& request);
Response list_snapshots(Services& services, Request& request);
Response create_snapshot(Services& services, Request& request);
Response show_snapshot(Services& services, Request& request);
Response remove_snapshot(Services& services, Request& request);
Response verify_snapshot(Services& services, Request& request);
Response restore_snapshot(Services& services, Request& request);

// handlers_archives.cc
Response download_snapshot(Services& services, Request& request);
Response import_snapshot(Services& services, Request& request);

// handlers_adoptions.cc
Response adopt_snapshot(Services& services, Request& request);

// handlers_undos.cc
Response list_undos(Services& services, Request& request);
Response show_undo(Services& services, Request& request);
Response apply_undo(Services& services, Request& request);
Response discard_undo(Services& services, Request& request);

// handlers_operations.cc
Response list_operations(Services& services, Request& request);
Response show_operation(Services& services, Request& request);
Response cancel_operation(Services& services, Request& request);
Response stream_operation(Services& services, Request& request);
Response list_events(Services& services, Request& request);

// handlers_system.cc
Response list_settings(Services& services, Request& request);
Response get_setting(Services& services, Request& request);
Response set_setting(Services& services, Request& request);
Response unset_setting(Services& services, Request& request);
Response export_key(Services& services, Request& request);
Response run_fsck(Services& services, Request& request);
Response system_info(Services& services, Request& request);
Response list_audit(Services& services, Request& request);
Response health(Services& services, Request& request);
Response readiness(Services& services, Request& request);
Response metrics(Services& services, Request& request);
Response openapi(Services& services, Request& request);

}  // namespace cairn::api
