// Snapshots that another program wrote into the repository, made snapshots of a workload.
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "volume/declared.h"
#include "volume/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

Result<volume::AdoptOptions> parse_adoption(const Request& request) {
  TRY_ASSIGN(Body body, Body::parse(request.body));
  volume::AdoptOptions options;
  body.require("snapshot");
  body.require("map");
  options.snapshot = body.text("snapshot");
  for (const auto& record : body.records("map", {"path", "target"}, volume::kVolumesMax)) {
    const auto text = [&record](const char* member) {
      const auto found = record.find(member);
      return found == record.end() ? std::string() : found->second;
    };
    options.map.push_back({.path = text("path"), .target = text("target")});
  }
  TRY(body.finish());
  return options;
}

Result<Response> adopt(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload_with_volumes(services, request));
  TRY_ASSIGN(const volume::AdoptOptions options, parse_adoption(request));
  TRY_ASSIGN(const bool dry, request.flag("dryRun"));
  if (dry) {
    Response response;
    response.later = [&services, id = workload.id, options,
                      request_id = request.id](const std::stop_token& stop) {
      auto forecast = services.volumes.forecast_adoption(id, options, stop);
      return forecast.ok() ? json_response(encode(*forecast))
                           : problem(forecast.error(), request_id);
    };
    return response;
  }
  return run_call(services, request,
                  {.kind = "snapshot.adopt",
                   .workload_id = workload.id,
                   .body = [&volumes = services.volumes, id = workload.id,
                            options](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const catalog::SnapshotRow row,
                                volumes.adopt_snapshot(id, options, context));
                     return encode(row);
                   },
                   .finish = created_snapshot(workload.id)});
}

}  // namespace

Response adopt_snapshot(Services& services, Request& request) {
  return respond(request, adopt(services, request));
}

}  // namespace cairn::api
