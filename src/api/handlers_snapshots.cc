// The order of the checks is part of the API: right and header (router), workload 404, snapshot
// 404, another workload's snapshot 400, kind 400; then the operation: lock 409, plan 400 or 507.
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/limits.h"
#include "api/problem.h"
#include "base/strings.h"
#include "catalog/catalog.h"
#include "volume/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

Result<volume::CaptureOptions> parse_capture(const Request& request) {
  TRY_ASSIGN(Body body, Body::parse(request.body));
  volume::CaptureOptions options;
  auto consistency = volume::parse_consistency(body.text("consistency", "paused"));
  if (consistency.ok()) {
    options.consistency = *consistency;
  } else {
    body.fault("consistency", consistency.error().message());
  }
  options.labels = body.map("labels", kLabelsMax);
  for (const auto& [key, value] : options.labels) {
    if (key.empty() || key.size() > kLabelBytesMax || value.size() > kLabelBytesMax) {
      body.fault("labels." + printable(key, 40), "is empty or longer than 256 bytes");
    }
  }
  options.on_busy = on_busy<volume::OnBusy>(body.flag("wait"));
  if (body.has("max_hold")) {
    const std::string max_hold = body.scalar("max_hold");
    options.max_hold_s = parse_duration_s(max_hold);
    if (!options.max_hold_s || *options.max_hold_s < 1 || *options.max_hold_s > kHoldSecondsMax) {
      body.fault("max_hold", "must be a duration from 1s to 24h");
    }
  }
  for (auto [field, command] : {std::pair{"pre", &options.pre}, {"post", &options.post}}) {
    *command = body.text(field);
    if (command->size() > kHookBytesMax || command->find('\0') != std::string::npos) {
      body.fault(field, "must be a command of at most 4096 bytes");
    }
  }
  TRY(body.finish());
  return options;
}

Result<Response> try_list_snapshots(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string owner, get_owner_id(services, request));
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> rows,
             services.catalog.snapshots().list(owner));
  return json_response(encode_list("snapshots", rows));
}

Result<Response> create(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload_with_volumes(services, request));
  TRY_ASSIGN(const volume::CaptureOptions options, parse_capture(request));
  TRY_ASSIGN(const bool dry, request.flag("dryRun"));
  if (dry) {
    Response response;
    response.later = [&services, id = workload.id, options,
                      request_id = request.id](const std::stop_token&) {
      auto forecast = services.volumes.forecast_snapshot(id, options);
      return forecast.ok() ? json_response(encode(*forecast))
                           : problem(forecast.error(), request_id);
    };
    return response;
  }
  return run_call(services, request,
                  {.kind = "snapshot.create",
                   .workload_id = workload.id,
                   .body = [&volumes = services.volumes, id = workload.id,
                            options](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const catalog::SnapshotRow row,
                                volumes.create_snapshot(id, options, context));
                     return encode(row);
                   },
                   .finish = created_snapshot(workload.id)});
}

Result<Response> show(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string owner, get_owner_id(services, request));
  TRY_ASSIGN(const catalog::SnapshotRow row, get_snapshot(services, request, owner));
  return json_response(encode(row));
}

Result<Response> try_remove_snapshot(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string owner, get_owner_id(services, request));
  TRY_ASSIGN(const catalog::SnapshotRow row, get_snapshot(services, request, owner));
  return run_call(
      services, request,
      {.kind = "snapshot.remove",
       .workload_id = owner,
       .body = [&volumes = services.volumes, row](catalog::OperationContext&) -> Result<json> {
         TRY(volumes.remove_snapshot(row));
         return json{{"status", "removed"}, {"id", row.id}, {"warnings", json::array()}};
       },
       .finish = [](Response& response, const json&) { response = no_content(); },
       .may_use_reserve = true});
}

Result<Response> verify(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string owner, get_owner_id(services, request));
  TRY_ASSIGN(const catalog::SnapshotRow row, get_snapshot(services, request, owner));
  return run_call(services, request,
                  {.kind = "snapshot.verify",
                   .workload_id = owner,
                   .body = [&volumes = services.volumes,
                            row](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const catalog::SnapshotRow verified,
                                volumes.verify_snapshot(row, context));
                     json result = encode(verified);
                     result["status"] = "verified";
                     return result;
                   }});
}

// What the real call would answer, without changing anything.
Response dry_run(Services& services,
                 const std::string& workload_id,
                 const catalog::SnapshotRow& snapshot,
                 const volume::RestoreOptions& options,
                 const std::string& request_id) {
  auto plan = services.volumes.plan_restore(workload_id, snapshot, options);
  if (!plan.ok()) return problem(plan.error(), request_id);
  if (plan->reasons.empty()) return json_response(encode(*plan));
  ErrorDetail detail;
  detail.reasons = plan->reasons;
  const Error refusal(plan->no_space ? Code::kNoSpace : Code::kRefused,
                      "the restore would be refused: " + plan->reasons[0].detail,
                      std::move(detail));
  return problem(refusal, request_id);
}

Result<Response> restore(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  TRY_ASSIGN(const catalog::SnapshotRow row, get_snapshot(services, request, workload.id));
  TRY(get_workload_with_volumes(services, request));
  TRY_ASSIGN(const volume::RestoreOptions options,
             parse_restore_options(request, ChooseVolumes::kYes));
  TRY_ASSIGN(const bool dry, request.flag("dryRun"));
  if (dry) {
    Response response;
    response.later = [&services, id = workload.id, row, options,
                      request_id = request.id](const std::stop_token&) {
      return dry_run(services, id, row, options, request_id);
    };
    return response;
  }
  return run_call(services, request,
                  {.kind = "snapshot.restore",
                   .workload_id = workload.id,
                   .body = [&volumes = services.volumes, id = workload.id, row,
                            options](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const volume::RestoreResult result,
                                volumes.restore(id, row, options, context));
                     return encode(result);
                   },
                   .may_use_reserve = true});
}

Result<Response> show_any(Services& services, const Request& request) {
  TRY_ASSIGN(const std::optional<catalog::SnapshotRow> row,
             services.catalog.snapshots().find(request.param("sid")));
  if (!row.has_value()) {
    return Error(Code::kNotFound, "no snapshot " + printable(request.param("sid")));
  }
  return json_response(encode(*row));
}

}  // namespace

Response list_all_snapshots(Services& services, Request& request) {
  auto rows = services.catalog.snapshots().list("");
  if (!rows.ok()) return problem(rows.error(), request.id);
  return json_response(encode_list("snapshots", *rows));
}

Response show_any_snapshot(Services& services, Request& request) {
  return respond(request, show_any(services, request));
}

Response list_snapshots(Services& services, Request& request) {
  return respond(request, try_list_snapshots(services, request));
}

Response create_snapshot(Services& services, Request& request) {
  return respond(request, create(services, request));
}

Response show_snapshot(Services& services, Request& request) {
  return respond(request, show(services, request));
}

Response remove_snapshot(Services& services, Request& request) {
  return respond(request, try_remove_snapshot(services, request));
}

Response verify_snapshot(Services& services, Request& request) {
  return respond(request, verify(services, request));
}

Response restore_snapshot(Services& services, Request& request) {
  return respond(request, restore(services, request));
}

}  // namespace cairn::api
