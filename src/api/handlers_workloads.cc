#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "catalog/catalog.h"
#include "workload/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

// The body of calls that know nothing but "wait".
Result<workload::OnBusy> parse_wait(const Request& request) {
  TRY_ASSIGN(Body body, Body::parse(request.body));
  const bool wait = body.flag("wait");
  TRY(body.finish());
  return on_busy<workload::OnBusy>(wait);
}

Result<workload::TextFormat> format_of(const Request& request) {
  const std::string_view type = request.headers.get("content-type");
  const std::string_view name = type.substr(0, type.find(';'));
  if (name == "application/toml" || name == "text/toml" || name == "text/x-toml") {
    return workload::TextFormat::kToml;
  }
  return workload::TextFormat::kJson;
}

Result<Response> try_apply_workload(Services& services, const Request& request) {
  TRY_ASSIGN(const workload::TextFormat format, format_of(request));
  TRY_ASSIGN(const workload::Applied applied,
             services.workloads.apply(request.body, format, request.caller.name));
  json body = encode(applied.workload);
  body["status"] = applied.created ? "created" : applied.changed ? "updated" : "unchanged";
  body["warnings"] = json::array();
  Response response = json_response(body, applied.created ? 201 : 200);
  if (applied.created) {
    response.headers.add("Location", "/api/workloads/" + applied.workload.row.id);
  }
  return response;
}

Result<Response> deploy(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  TRY_ASSIGN(Body body, Body::parse(request.body));
  const workload::DeployOptions options{
      .tag = body.text("tag"),
      .force = body.flag("force"),
      .allow_anonymous = body.list("allow_anonymous", volume::kVolumesMax),
      .fresh_volumes = body.list("fresh_volumes", volume::kVolumesMax),
      .on_busy = on_busy<workload::OnBusy>(body.flag("wait"))};
  TRY(body.finish());
  return run_call(services, request,
                  {.kind = "workload.deploy",
                   .workload_id = workload.id,
                   .body = [&workloads = services.workloads, id = workload.id,
                            options](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const workload::DeployResult result,
                                workloads.deploy(id, options, context));
                     return encode(result);
                   }});
}

Result<Response> set_running(Services& services, const Request& request, bool running) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  TRY_ASSIGN(const workload::OnBusy busy, parse_wait(request));
  return run_call(services, request,
                  {.kind = running ? "workload.start" : "workload.stop",
                   .workload_id = workload.id,
                   .body = [&workloads = services.workloads, workload, busy,
                            running](catalog::OperationContext& context) -> Result<json> {
                     if (running) {
                       TRY(workloads.start(workload.id, busy, context));
                     } else {
                       TRY(workloads.stop(workload.id, busy, context));
                     }
                     return json{{"status", running ? "started" : "stopped"},
                                 {"workload_id", workload.id},
                                 {"name", workload.name},
                                 {"warnings", json::array()}};
                   }});
}

Result<Response> try_remove_workload(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  TRY_ASSIGN(const bool wait, request.flag("wait"));
  return run_call(
      services, request,
      {.kind = "workload.remove",
       .workload_id = workload.id,
       .body = [&workloads = services.workloads, workload, wait,
                actor = request.caller.name](catalog::OperationContext& context) -> Result<json> {
         TRY(workloads.remove(workload.id, on_busy<workload::OnBusy>(wait), actor, context));
         return json{{"status", "removed"},
                     {"workload_id", workload.id},
                     {"name", workload.name},
                     {"warnings", json::array()}};
       },
       .finish = [](Response& response, const json&) { response = no_content(); },
       .may_use_reserve = true});
}

Result<Response> try_set_volume(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  TRY_ASSIGN(Body body, Body::parse(request.body));
  body.require("target");
  body.require("scope");
  const catalog::VolumeRow row{.workload_id = workload.id,
                               .target = body.text("target"),
                               .source = body.text("source"),
                               .scope = body.text("scope"),
                               .name = body.text("name"),
                               .updated_ms = 0};
  if (auto scope = volume::parse_scope(row.scope); !scope.ok() && !row.scope.empty()) {
    body.fault("scope", scope.error().message());
  }
  TRY(body.finish());
  TRY_ASSIGN(const volume::DeclaredVolume volume, volume::check_volume(row));
  TRY(services.workloads.set_volume(workload.id, volume, request.caller.name));
  TRY_ASSIGN(const std::vector<workload::VolumeView> volumes,
             services.workloads.list_volumes(workload.id));
  return json_response(encode_list("volumes", volumes));
}

Result<Response> unset(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  const auto target = request.query.find("target");
  if (target == request.query.end()) {
    return Error(Code::kInvalid, "query parameter target is missing");
  }
  TRY(services.workloads.unset_volume(workload.id, target->second, request.caller.name));
  return no_content();
}

}  // namespace

Response list_workloads(Services& services, Request& request) {
  auto views = services.workloads.list();
  if (!views.ok()) return problem(views.error(), request.id);
  return json_response(encode_list("workloads", *views));
}

Response apply_workload(Services& services, Request& request) {
  return respond(request, try_apply_workload(services, request));
}

Response show_workload(Services& services, Request& request) {
  auto view = services.workloads.show(request.param("id"));
  if (!view.ok()) return problem(view.error(), request.id);
  return json_response(encode(*view));
}

Response remove_workload(Services& services, Request& request) {
  return respond(request, try_remove_workload(services, request));
}

Response deploy_workload(Services& services, Request& request) {
  return respond(request, deploy(services, request));
}

Response stop_workload(Services& services, Request& request) {
  return respond(request, set_running(services, request, false));
}

Response start_workload(Services& services, Request& request) {
  return respond(request, set_running(services, request, true));
}

Response list_volumes(Services& services, Request& request) {
  auto volumes = services.workloads.list_volumes(request.param("id"));
  if (!volumes.ok()) return problem(volumes.error(), request.id);
  return json_response(encode_list("volumes", *volumes));
}

Response set_volume(Services& services, Request& request) {
  return respond(request, try_set_volume(services, request));
}

Response unset_volume(Services& services, Request& request) {
  return respond(request, unset(services, request));
}

}  // namespace cairn::api
