#include "api/call.h"

#include <nlohmann/json.hpp>

#include "api/decode.h"
#include "api/encode.h"
#include "api/limits.h"
#include "api/problem.h"
#include "base/strings.h"
#include "catalog/catalog.h"
#include "volume/declared.h"

namespace cairn::api {

using nlohmann::json;

namespace {

constexpr std::size_t kAlsoStopMax = 64;

Error with_operation(const Error& error, const std::string& operation) {
  ErrorDetail detail = error.detail();
  detail.operation = operation;
  return error.with_detail(std::move(detail));
}

Response accepted(const catalog::OperationRow& row) {
  Response response = json_response(encode(row), 202);
  response.headers.add("Location", "/api/operations/" + row.id);
  response.headers.add("Preference-Applied", "respond-async");
  return response;
}

// Waits in steps, so that a daemon that stops does not wait for the operation's end first.
Response await(catalog::Operations& operations,
               const std::string& id,
               const std::string& request_id,
               const Finish& finish,
               const std::stop_token& stop) {
  std::uint64_t version = 0;
  for (;;) {
    auto change = operations.wait_change(id, version, version == 0 ? 0 : kWaitStepMs);
    if (!change.ok()) return problem(with_operation(change.error(), id), request_id);
    version = change->version;
    if (change->row.state != catalog::OperationState::kRunning) {
      auto result = catalog::outcome(change->row);
      if (!result.ok()) return problem(with_operation(result.error(), id), request_id);
      const json value = json::parse(*result, nullptr, false);
      Response response = json_response(value);
      response.headers.add("X-Operation-Id", id);
      if (finish) finish(response, value);
      return response;
    }
    if (stop.stop_requested()) {
      const Error ended(
          Code::kUnavailable,
          "the daemon stops; the operation tells what became of it once it runs again");
      return problem(with_operation(ended, id), request_id);
    }
  }
}

}  // namespace

Response respond(const Request& request, Result<Response> result) {
  if (!result.ok()) return problem(result.error(), request.id);
  return std::move(result).value();
}

Response run_call(Services& services, const Request& request, Call call) {
  auto started = services.operations.start(
      {.kind = std::move(call.kind),
       .workload_id = std::move(call.workload_id),
       .actor = request.caller.name,
       .may_use_reserve = call.may_use_reserve},
      [body = std::move(call.body)](catalog::OperationContext& context) -> Result<std::string> {
        TRY_ASSIGN(const json result, body(context));
        return dump(result);
      });
  if (!started.ok()) return problem(started.error(), request.id);
  const std::string& id = *started;
  if (prefers_async(request)) {
    auto row = services.operations.find(id);
    if (!row.ok()) return problem(with_operation(row.error(), id), request.id);
    if (row->has_value()) return accepted(**row);
    return problem(Error(Code::kNotFound, "operation " + id + " is gone already"), request.id);
  }
  Response response;
  response.later = [&operations = services.operations, id, request_id = request.id,
                    finish = std::move(call.finish)](const std::stop_token& stop) {
    return await(operations, id, request_id, finish, stop);
  };
  return response;
}

Result<catalog::Workload> get_workload(Services& services, const Request& request) {
  return services.catalog.workloads().get(request.param("id"));
}

Result<catalog::Workload> get_workload_with_volumes(Services& services, const Request& request) {
  TRY_ASSIGN(catalog::Workload workload, get_workload(services, request));
  if (workload.kind != "image") {
    return Error(Code::kInvalid, "workload " + workload.name + " is of kind " + workload.kind +
                                     ", whose volumes cannot be captured or restored");
  }
  return workload;
}

Result<std::string> get_owner_id(Services& services, const Request& request) {
  const std::string& id = request.param("id");
  TRY_ASSIGN(const std::optional<catalog::Workload> workload,
             services.catalog.workloads().find(id));
  if (workload.has_value()) return workload->id;
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> rows, services.catalog.snapshots().list(""));
  for (const catalog::SnapshotRow& row : rows) {
    if (row.workload_id == id || row.workload_name == id) return row.workload_id;
  }
  return Error(Code::kNotFound, "no workload " + printable(id));
}

Result<catalog::SnapshotRow> get_snapshot(Services& services,
                                          const Request& request,
                                          const std::string& workload_id) {
  const std::string& sid = request.param("sid");
  TRY_ASSIGN(std::optional<catalog::SnapshotRow> row, services.catalog.snapshots().find(sid));
  if (!row.has_value()) return Error(Code::kNotFound, "no snapshot " + printable(sid));
  if (row->workload_id != workload_id) {
    return Error(Code::kInvalid,
                 "snapshot " + sid + " is of another workload, " + row->workload_name);
  }
  return *std::move(row);
}

Finish created_snapshot(const std::string& workload_id) {
  return [workload_id](Response& response, const json& result) {
    response.status = 201;
    response.headers.add("Location", "/api/workloads/" + workload_id + "/snapshots/" +
                                         result.value("id", std::string()));
  };
}

Result<volume::RestoreOptions> parse_restore_options(const Request& request, ChooseVolumes choose) {
  TRY_ASSIGN(Body body, Body::parse(request.body));
  volume::RestoreOptions options;
  const std::string on_failure = body.text("on_failure", "undo");
  if (on_failure == "keep") {
    options.on_failure = volume::OnFailure::kKeep;
  } else if (on_failure != "undo") {
    body.fault("on_failure", "must be undo or keep");
  }
  options.also_stop = body.list("also_stop", kAlsoStopMax);
  if (choose == ChooseVolumes::kYes) {
    options.only = body.list("only", volume::kVolumesMax);
    // An empty list is no way to say "all": it may be what a search came to that found nothing.
    if (body.has("only") && options.only.empty()) {
      body.fault("only", "must name a volume; without it all are restored");
    }
  }
  if (body.flag("wait")) options.on_busy = volume::OnBusy::kWait;
  TRY(body.finish());
  return options;
}

}  // namespace cairn::api
