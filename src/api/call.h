// What the handlers share: looking up what a path names, and running long calls as operations.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/http.h"
#include "api/services.h"
#include "base/result.h"
#include "catalog/operations.h"
#include "catalog/snapshots.h"
#include "catalog/workloads.h"
#include "volume/service.h"

namespace cairn::api {

// A body that returns the result as JSON.
using LongCall = std::function<Result<nlohmann::json>(catalog::OperationContext&)>;
// Turns the answer of success into something else than 200 with the result.
using Finish = std::function<void(Response&, const nlohmann::json& result)>;

struct Call {
  std::string kind;  // of the operation: "snapshot.restore"
  std::string workload_id;
  LongCall body;
  Finish finish = {};
  // For what takes back or removes: it may begin on a full disk, with the catalog's reserve.
  bool may_use_reserve = false;
};

// Starts an operation. The answer is its result once it has ended, or at once 202 with its place
// where the request prefers that. A client that goes away cancels nothing.
Response run_call(Services& services, const Request& request, Call call);

// The body of a restore or an undo; kInvalid with every fault. Of an undo no volumes are chosen:
// it goes back from exactly what its restore exchanged.
enum class ChooseVolumes { kNo, kYes };
Result<volume::RestoreOptions> parse_restore_options(const Request& request, ChooseVolumes choose);

// What a call does while another operation holds its workload.
template <class OnBusy>
OnBusy on_busy(bool wait) {
  return wait ? OnBusy::kWait : OnBusy::kRefuse;
}

// Turns the answer of an operation that made a snapshot into 201 with its place.
Finish created_snapshot(const std::string& workload_id);

// The result of a handler: its error becomes a problem.
Response respond(const Request& request, Result<Response> result);

// The workload of {id}, by id or name; kNotFound.
Result<catalog::Workload> get_workload(Services& services, const Request& request);
// The same, and kInvalid where workloads of its kind have no volumes that Cairn keeps.
Result<catalog::Workload> get_workload_with_volumes(Services& services, const Request& request);

// The id of the workload of {id}; where it has been removed, of the snapshots that it left.
Result<std::string> get_owner_id(Services& services, const Request& request);
// The snapshot of {sid}: kNotFound, and kInvalid where it is another workload's.
Result<catalog::SnapshotRow> get_snapshot(Services& services,
                                          const Request& request,
                                          const std::string& workload_id);

}  // namespace cairn::api
