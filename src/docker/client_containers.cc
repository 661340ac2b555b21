// EngineClient: containers.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "docker/client.h"
#include "docker/inspect.h"
#include "docker/json_read.h"
#include "docker/wire.h"

namespace cairn::docker {

namespace {

constexpr int kStopMarginMs = 30'000;
// Where the container's own stop time-out counts, which may be long.
constexpr int kStopUnknownMs = 60 * 60 * 1000;
constexpr int kGraceMax_s = 24 * 60 * 60;

std::string path_of(const std::string& id, std::string_view action) {
  return fmt::format("/containers/{}{}", id, action);
}

}  // namespace

Result<std::string> EngineClient::create_container(const ContainerSpec& spec) {
  TRY(check_object_name(spec.name));
  TRY_ASSIGN(std::string body, format_container(spec));
  auto reply = wire_->call("POST", "/containers/create" + query({{"name", spec.name}}), body);
  if (!reply.ok()) return reply.error().with_context("create container " + spec.name);
  TRY_ASSIGN(nlohmann::json document, parse_json(reply->body));
  JsonFault fault;
  std::string id = JsonReader(document, fault).text("Id");
  TRY(fault.status());
  TRY(check_object_name(id));
  return id;
}

Status EngineClient::start(const std::string& id) {
  TRY(check_object_name(id));
  TRY_CONTEXT(wire_->post(path_of(id, "/start")), "start " + with_short_ids(id));
  return {};
}

Status EngineClient::stop(const std::string& id, std::optional<int> grace_s) {
  TRY(check_object_name(id));
  std::string parameters;
  int total_ms = kStopUnknownMs;
  if (grace_s) {
    if (*grace_s < 0 || *grace_s > kGraceMax_s) return Error(Code::kInvalid, "stop grace");
    parameters = query({{"t", std::to_string(*grace_s)}});
    total_ms = *grace_s * 1000 + kStopMarginMs;
  }
  TRY_CONTEXT(wire_->post(path_of(id, "/stop" + parameters), {}, total_ms),
              "stop " + with_short_ids(id));
  return {};
}

Status EngineClient::kill(const std::string& id, const std::string& signal) {
  TRY(check_object_name(id));
  TRY_CONTEXT(wire_->post(path_of(id, "/kill" + query({{"signal", signal}}))),
              "kill " + with_short_ids(id));
  return {};
}

Status EngineClient::pause(const std::string& id) {
  TRY(check_object_name(id));
  TRY_CONTEXT(wire_->post(path_of(id, "/pause")), "pause " + with_short_ids(id));
  return {};
}

Status EngineClient::unpause(const std::string& id) {
  TRY(check_object_name(id));
  TRY_CONTEXT(wire_->post(path_of(id, "/unpause")), "unpause " + with_short_ids(id));
  return {};
}

Status EngineClient::remove(const std::string& id, RemoveOptions options) {
  TRY(check_object_name(id));
  std::string parameters =
      query({{"force", options.force ? "1" : "0"}, {"v", options.anonymous_volumes ? "1" : "0"}});
  auto reply = wire_->call("DELETE", path_of(id, parameters));
  if (!reply.ok()) return reply.error().with_context("remove " + with_short_ids(id));
  return {};
}

Status EngineClient::rename(const std::string& id, const std::string& new_name) {
  TRY(check_object_name(id));
  TRY(check_object_name(new_name));
  TRY_CONTEXT(wire_->post(path_of(id, "/rename" + query({{"name", new_name}}))),
              "rename " + with_short_ids(id));
  return {};
}

Status EngineClient::set_restart_policy(const std::string& id,
                                        const std::string& policy,
                                        int retries_max) {
  TRY(check_object_name(id));
  int retries = policy == "on-failure" ? retries_max : 0;
  TRY_ASSIGN(std::string body,
             to_text({{"RestartPolicy", {{"Name", policy}, {"MaximumRetryCount", retries}}}}));
  TRY_CONTEXT(wire_->post(path_of(id, "/update"), body),
              "set the restart policy of " + with_short_ids(id));
  return {};
}

Result<std::optional<Container>> EngineClient::find_container(const std::string& id) {
  TRY(check_object_name(id));
  auto document = wire_->get_json(path_of(id, "/json"));
  if (!document.ok()) {
    if (document.error().code() == Code::kNotFound) return std::optional<Container>();
    return document.error().with_context("inspect " + with_short_ids(id));
  }
  TRY_ASSIGN(Container container, parse_container(*document));
  // The engine takes the front of an id for an id: another container than the one asked for.
  if (container.id != id && container.name != id) return std::optional<Container>();
  return std::optional(std::move(container));
}

Result<std::vector<ContainerSummary>> EngineClient::list_containers(const ContainerFilter& filter) {
  nlohmann::json filters = nlohmann::json::object();
  if (!filter.labels.empty()) filters["label"] = filter.labels;
  if (!filter.volume.empty()) filters["volume"] = nlohmann::json::array({filter.volume});
  TRY_ASSIGN(std::string filter_text, to_text(filters));
  TRY_ASSIGN(nlohmann::json document,
             wire_->get_json("/containers/json" + query({{"all", filter.running_only ? "0" : "1"},
                                                         {"filters", filter_text}})));
  return parse_container_list(document);
}

Result<int> EngineClient::wait(const std::string& id, std::stop_token stop) {
  TRY(check_object_name(id));
  net::CallOptions options;
  options.total_ms = net::kNoTimeout;
  options.stop = std::move(stop);
  auto reply = wire_->call("POST", path_of(id, "/wait"), {}, options);
  if (!reply.ok()) return reply.error().with_context("wait for " + id);
  TRY_ASSIGN(nlohmann::json document, parse_json(reply->body));
  JsonFault fault;
  int code = JsonReader(document, fault).small_integer("StatusCode");
  TRY(fault.status());
  return code;
}

}  // namespace cairn::docker
