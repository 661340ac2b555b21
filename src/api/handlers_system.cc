#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/limits.h"
#include "api/openapi.h"
#include "api/problem.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "docker/engine.h"
#include "volume/service.h"
#include "workload/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

Result<Response> try_set_setting(Services& services, const Request& request) {
  const std::string& key = request.param("key");
  TRY(services.catalog.settings().get(key));
  TRY_ASSIGN(Body body, Body::parse(request.body));
  body.require("value");
  const std::string value = body.scalar("value");
  TRY(body.finish());
  TRY(services.catalog.settings().set(key, value));
  TRY_ASSIGN(const catalog::Setting setting, services.catalog.settings().get(key));
  return json_response(encode(setting));
}

Result<Response> fsck(Services& services) {
  TRY_ASSIGN(std::vector<catalog::Finding> findings, services.catalog.check());
  if (findings.empty()) {  // else there is nothing to hold the rest against
    TRY_ASSIGN(findings, services.workloads.check());
    TRY_ASSIGN(const std::vector<catalog::Finding> data, services.volumes.fsck());
    findings.insert(findings.end(), data.begin(), data.end());
  }
  if (findings.empty()) return json_response({{"status", "clean"}});
  json body = encode_list("findings", findings);
  body["status"] = "damaged";
  return json_response(body);
}

// Workloads that wait for recovery, each once.
std::vector<std::string> recovering(Services& services) {
  std::vector<std::string> ids = services.volumes.recovering();
  const std::vector<std::string> more = services.workloads.recovering();
  ids.insert(ids.end(), more.begin(), more.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<Response> audit(Services& services, const Request& request) {
  TRY_ASSIGN(const std::uint64_t limit, request.number("limit", 100, kListMax));
  TRY_ASSIGN(const std::uint64_t before, request.number("before", 0, INT64_MAX));
  TRY_ASSIGN(const std::vector<catalog::AuditEntry> entries,
             services.catalog.audit().list(static_cast<std::int64_t>(before),
                                           static_cast<std::int64_t>(limit)));
  json list = json::array();
  for (const catalog::AuditEntry& entry : entries) {
    list.push_back({{"id", entry.id},
                    {"time", encode_time(entry.time_ms)},
                    {"actor", entry.actor},
                    {"action", entry.action},
                    {"subject", entry.subject},
                    {"detail", entry.detail}});
  }
  return json_response({{"audit", std::move(list)}});
}

// One gauge in the text format of Prometheus (exposition format 0.0.4).
void gauge(std::string& out, std::string_view name, std::string_view help, std::uint64_t value) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n");
  out.append("# TYPE ").append(name).append(" gauge\n");
  out.append(name).append(" ").append(std::to_string(value)).append("\n");
}

Result<Response> gauges(Services& services) {
  TRY_ASSIGN(const std::vector<catalog::Workload> workloads, services.catalog.workloads().list());
  TRY_ASSIGN(const std::vector<catalog::SnapshotRow> snapshots,
             services.catalog.snapshots().list(""));
  TRY_ASSIGN(const std::vector<catalog::UndoRow> undos, services.catalog.undos().list(""));
  const auto wanted =
      std::count_if(workloads.begin(), workloads.end(), [](const catalog::Workload& workload) {
        return workload.desired == catalog::Desired::kRunning;
      });
  const auto available = std::count_if(
      undos.begin(), undos.end(),
      [](const catalog::UndoRow& undo) { return undo.state == catalog::UndoState::kAvailable; });
  std::uint64_t bytes = 0;
  for (const catalog::SnapshotRow& row : snapshots) bytes += row.bytes;

  std::string out;
  const std::int64_t up_ms = std::max<std::int64_t>(0, wall_ms() - services.info.started_ms);
  gauge(out, "cairn_uptime_seconds", "Seconds since the daemon started.",
        static_cast<std::uint64_t>(up_ms / 1000));
  gauge(out, "cairn_workloads", "Workloads that are defined.", workloads.size());
  gauge(out, "cairn_workloads_wanted", "Workloads that are to be running.",
        static_cast<std::uint64_t>(wanted));
  gauge(out, "cairn_workloads_recovering", "Workloads that wait for recovery.",
        recovering(services).size());
  gauge(out, "cairn_operations_running", "Operations that run now.", services.operations.running());
  gauge(out, "cairn_snapshots", "Snapshots in the catalog.", snapshots.size());
  gauge(out, "cairn_snapshot_bytes", "Bytes of all captured files, before deduplication.", bytes);
  gauge(out, "cairn_undos", "Undos that can be applied.", static_cast<std::uint64_t>(available));
  out +=
      "# HELP cairn_http_answers_total Answers by the class of their status.\n"
      "# TYPE cairn_http_answers_total counter\n";
  for (std::size_t i = 1; i < services.answers.by_class.size(); ++i) {
    out += "cairn_http_answers_total{class=\"" + std::to_string(i) + "xx\"} " +
           std::to_string(services.answers.by_class.at(i).load()) + "\n";
  }
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = std::move(out);
  return response;
}

}  // namespace

Response list_settings(Services& services, Request& request) {
  auto settings = services.catalog.settings().list();
  if (!settings.ok()) return problem(settings.error(), request.id);
  return json_response(encode_list("settings", *settings));
}

Response get_setting(Services& services, Request& request) {
  auto setting = services.catalog.settings().get(request.param("key"));
  if (!setting.ok()) return problem(setting.error(), request.id);
  return json_response(encode(*setting));
}

Response set_setting(Services& services, Request& request) {
  return respond(request, try_set_setting(services, request));
}

Response unset_setting(Services& services, Request& request) {
  auto unset = services.catalog.settings().unset(request.param("key"));
  if (!unset.ok()) return problem(unset.error(), request.id);
  return no_content();
}

// The one answer that holds secrets; the router has written the audit trail.
Response export_key(Services& services, Request& request) {
  (void)request;
  return json_response({{"repository", services.kit.repository},
                        {"password", services.kit.password},
                        {"sealing_key", services.kit.sealing_key},
                        {"warnings", json::array()}});
}

Response run_fsck(Services& services, Request& request) {
  Response response;
  response.later = [&services, id = request.id](const std::stop_token&) {
    auto result = fsck(services);
    return result.ok() ? std::move(result).value() : problem(result.error(), id);
  };
  return response;
}

Response system_info(Services& services, Request& request) {
  (void)request;
  const DaemonInfo& info = services.info;
  json engine = {{"socket", info.engine_socket_path}};
  if (auto version = services.engine.ping(); version.ok()) {
    engine["state"] = "up";
    engine["version"] = version->engine;
    engine["api"] = version->api;
  } else {
    engine["state"] = "down";
    engine["detail"] = version.error().message();
  }
  return json_response(
      {{"version", info.version},
       {"data_dir", info.data_dir},
       {"socket", info.socket_path},
       {"engine", std::move(engine)},
       {"repository", {{"id", info.repository_id}, {"location", services.kit.repository}}},
       {"recovering", recovering(services)},
       {"operations_running", services.operations.running()},
       {"started_at", encode_time(info.started_ms)}});
}

Response list_audit(Services& services, Request& request) {
  return respond(request, audit(services, request));
}

Response health(Services& services, Request& request) {
  (void)services;
  (void)request;
  return json_response({{"status", "ok"}});
}

Response readiness(Services& services, Request& request) {
  (void)request;
  json reasons = json::array();
  for (const std::string& id : recovering(services)) {
    reasons.push_back({{"target", id}, {"code", "recovering"}, {"detail", "waits for recovery"}});
  }
  if (reasons.empty()) return json_response({{"status", "ready"}});
  return json_response({{"status", "recovering"}, {"reasons", std::move(reasons)}}, 503);
}

Response metrics(Services& services, Request& request) {
  return respond(request, gauges(services));
}

Response openapi(Services& services, Request& request) {
  (void)request;
  Response response;
  response.body = openapi_document(services.info.version);
  return response;
}

}  // namespace cairn::api
