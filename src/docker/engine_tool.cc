// cairn_engine_tool SOCKET VERB [ARGUMENT...]: one call of EngineClient from the command line, its
// answer as JSON on standard output. For tests, which hold the client against real and fake
// engines. Exit code 0, or 1 with {"error": {"code", "message"}}.
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/strings.h"
#include "docker/client.h"
#include "docker/json_read.h"
#include "docker/reference.h"

namespace cairn::docker {
namespace {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

Json to_json(const std::vector<ContainerMount>& mounts) {
  Json list = Json::array();
  for (const ContainerMount& mount : mounts) {
    const char* kind = mount.kind == Mount::Kind::kBind     ? "bind"
                       : mount.kind == Mount::Kind::kVolume ? "volume"
                                                            : "tmpfs";
    list.push_back({{"kind", kind},
                    {"name", mount.name},
                    {"source", mount.source},
                    {"destination", mount.destination},
                    {"read_write", mount.read_write}});
  }
  return list;
}

Json to_json(const Container& container) {
  Json probes = Json::array();
  for (const HealthProbe& probe : container.health_log) {
    probes.push_back({{"exit_code", probe.exit_code}, {"output", probe.output}});
  }
  Json ports = Json::array();
  for (const PortPublish& port : container.ports) {
    ports.push_back({{"host_ip", port.host_ip},
                     {"host_port", port.host_port},
                     {"container_port", port.container_port},
                     {"protocol", port.protocol}});
  }
  Json json = {{"id", container.id},
               {"name", container.name},
               {"image_id", container.image_id},
               {"image_ref", container.image_ref},
               {"state", state_name(container.state)},
               {"running", container.running},
               {"paused", container.paused},
               {"restarting", container.restarting},
               {"oom_killed", container.oom_killed},
               {"exit_code", container.exit_code},
               {"restart_count", container.restart_count},
               {"pid", container.pid},
               {"started_ms", container.started_ms},
               {"finished_ms", container.finished_ms},
               {"error", container.error},
               {"health", health_name(container.health)},
               {"health_log", probes},
               {"labels", container.labels},
               {"env", container.env},
               {"restart_policy", container.restart_policy},
               {"restart_retries_max", container.restart_retries_max},
               {"mounts", to_json(container.mounts)},
               {"ip_addresses", container.ip_addresses},
               {"ports", ports},
               {"stop_signal", container.stop_signal},
               {"tty", container.tty}};
  if (container.stop_timeout_s) json["stop_timeout_s"] = *container.stop_timeout_s;
  return json;
}

Json to_json(const Image& image) {
  return {{"id", image.id},
          {"repo_tags", image.repo_tags},
          {"repo_digests", image.repo_digests},
          {"has_healthcheck", image.has_healthcheck},
          {"volumes", image.volumes},
          {"exposed_ports", image.exposed_ports},
          {"user", image.user},
          {"labels", image.labels}};
}

Json to_json(const Volume& volume) {
  return {{"name", volume.name},
          {"driver", volume.driver},
          {"mountpoint", volume.mountpoint},
          {"options", volume.options},
          {"labels", volume.labels}};
}

template <typename T>
Json found_json(const std::optional<T>& found) {
  return {{"found", found ? to_json(*found) : Json()}};
}

// The fields of a spec that tests need.
Result<ContainerSpec> parse_spec(const std::string& text) {
  TRY_ASSIGN(Json document, parse_json(text));
  JsonFault fault;
  JsonReader root(document, fault);
  ContainerSpec spec;
  spec.name = root.text("name");
  spec.image = root.text("image");
  spec.command = root.texts("command");
  spec.entrypoint = root.texts("entrypoint");
  spec.env = root.texts("env");
  spec.labels = root.text_map("labels");
  spec.user = root.text("user");
  spec.network = root.text("network");
  spec.aliases = root.texts("aliases");
  spec.nano_cpus = root.integer("nano_cpus");
  spec.memory_bytes = root.integer("memory_bytes");
  spec.shm_bytes = root.integer("shm_bytes");
  spec.stop_signal = root.text("stop_signal");
  if (root.has("stop_timeout_s")) spec.stop_timeout_s = root.small_integer("stop_timeout_s");
  if (root.has("restart_policy")) spec.restart_policy = root.text("restart_policy");
  spec.restart_retries_max = root.small_integer("restart_retries_max");
  for (const JsonReader& item : root.objects("mounts")) {
    std::string kind = item.text("kind");
    spec.mounts.push_back({.kind = kind == "bind"     ? Mount::Kind::kBind
                                   : kind == "volume" ? Mount::Kind::kVolume
                                                      : Mount::Kind::kTmpfs,
                           .source = item.text("source"),
                           .target = item.text("target"),
                           .read_only = item.boolean("read_only"),
                           .no_copy = item.boolean("no_copy")});
  }
  for (const JsonReader& item : root.objects("publishes")) {
    spec.publishes.push_back(
        {.host_ip = item.text("host_ip"),
         .host_port = static_cast<std::uint16_t>(item.integer("host_port")),
         .container_port = static_cast<std::uint16_t>(item.integer("container_port")),
         .protocol = "tcp"});
  }
  if (root.has("health_check")) {
    JsonReader check = root.object("health_check");
    spec.health_check = HealthCheck{.test = check.texts("test"),
                                    .interval_s = check.small_integer("interval_s"),
                                    .timeout_s = check.small_integer("timeout_s"),
                                    .start_period_s = check.small_integer("start_period_s"),
                                    .retries = check.small_integer("retries")};
  }
  TRY(fault.status());
  return spec;
}

// Turns a Status into an answer.
Result<Json> done(const Status& status) {
  if (!status.ok()) return status.error();
  return Json::object();
}

Result<Json> run_list(Engine& engine, const Arguments& arguments) {
  ContainerFilter filter;
  for (const std::string& argument : arguments) {
    if (argument.starts_with("volume=")) {
      filter.volume = argument.substr(7);
    } else {
      filter.labels.push_back(argument);
    }
  }
  TRY_ASSIGN(std::vector<ContainerSummary> list, engine.list_containers(filter));
  Json containers = Json::array();
  for (const ContainerSummary& item : list) {
    containers.push_back({{"id", item.id},
                          {"name", item.name},
                          {"image_id", item.image_id},
                          {"image_ref", item.image_ref},
                          {"state", state_name(item.state)},
                          {"labels", item.labels},
                          {"mounts", to_json(item.mounts)},
                          {"created_ms", item.created_ms}});
  }
  return Json{{"containers", containers}};
}

Result<Json> run_logs(Engine& engine, const std::string& id, LogOptions options) {
  std::string out;
  std::string err;
  TRY(engine.logs(id, options,
                  [&](Stream stream, std::string_view bytes) {
                    (stream == Stream::kErr ? err : out) += bytes;
                    return true;
                  },
                  {}));
  return Json{{"out", out}, {"err", err}};
}

Result<Json> run_exec(Engine& engine, const Arguments& arguments) {
  ExecOptions options;
  if (auto timeout = parse_uint(arguments[1])) options.timeout_ms = static_cast<int>(*timeout);
  TRY_ASSIGN(ExecResult result,
             engine.exec(arguments[0], {arguments.begin() + 2, arguments.end()}, options));
  return Json{{"exit_code", result.exit_code},
              {"timed_out", result.timed_out},
              {"truncated", result.truncated},
              {"output", result.output}};
}

struct Verb {
  std::size_t arguments_min;
  std::function<Result<Json>(EngineClient&, const Arguments&)> run;
};

using Verbs = std::map<std::string, Verb>;

void add_system_and_images(Verbs& verbs) {
  verbs["ping"] = {0, [](EngineClient& engine, const Arguments&) -> Result<Json> {
                     TRY_ASSIGN(Version version, engine.ping());
                     return Json{{"api", version.api},
                                 {"api_max", version.api_max},
                                 {"api_min", version.api_min},
                                 {"engine", version.engine},
                                 {"podman", version.podman}};
                   }};
  verbs["info"] = {
      0, [](EngineClient& engine, const Arguments&) -> Result<Json> {
        TRY_ASSIGN(Info info, engine.info());
        return Json{
            {"docker_root", info.docker_root},       {"storage_driver", info.storage_driver},
            {"cgroup_version", info.cgroup_version}, {"rootless", info.rootless},
            {"live_restore", info.live_restore},     {"userns_uid_base", info.userns_uid_base}};
      }};
  verbs["find-image"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                           TRY_ASSIGN(auto image, engine.find_image(a[0]));
                           return found_json(image);
                         }};
  verbs["pull"] = {2, [](EngineClient& engine, const Arguments& a) {
                     NoProgress nobody;
                     return done(engine.pull_image(a[0], a[1], {}, nobody, {}));
                   }};
  verbs["digest"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                       TRY_ASSIGN(std::string digest, engine.distribution_digest(a[0], {}));
                       return Json{{"digest", digest}};
                     }};
  verbs["import-empty"] = {2, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                             TRY_ASSIGN(std::string id, engine.import_empty_image(a[0], a[1]));
                             return Json{{"id", id}};
                           }};
  verbs["ensure-network"] = {1, [](EngineClient& engine, const Arguments& a) {
                               return done(engine.ensure_network(a[0]));
                             }};
}

void add_containers(Verbs& verbs) {
  verbs["create"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                       TRY_ASSIGN(ContainerSpec spec, parse_spec(a[0]));
                       TRY_ASSIGN(std::string id, engine.create_container(spec));
                       return Json{{"id", id}};
                     }};
  verbs["start"] = {
      1, [](EngineClient& engine, const Arguments& a) { return done(engine.start(a[0])); }};
  verbs["stop"] = {1, [](EngineClient& engine, const Arguments& a) {
                     std::optional<int> grace_s;
                     if (a.size() > 1) grace_s = static_cast<int>(parse_uint(a[1]).value_or(10));
                     return done(engine.stop(a[0], grace_s));
                   }};
  verbs["kill"] = {
      2, [](EngineClient& engine, const Arguments& a) { return done(engine.kill(a[0], a[1])); }};
  verbs["pause"] = {
      1, [](EngineClient& engine, const Arguments& a) { return done(engine.pause(a[0])); }};
  verbs["unpause"] = {
      1, [](EngineClient& engine, const Arguments& a) { return done(engine.unpause(a[0])); }};
  verbs["remove"] = {
      1, [](EngineClient& engine, const Arguments& a) {
        bool force = a.size() > 1 && a[1] == "force";
        return done(engine.remove(a[0], {.force = force, .anonymous_volumes = false}));
      }};
  verbs["rename"] = {
      2, [](EngineClient& engine, const Arguments& a) { return done(engine.rename(a[0], a[1])); }};
  verbs["set-restart-policy"] = {3, [](EngineClient& engine, const Arguments& a) {
                                   auto retries = static_cast<int>(parse_uint(a[2]).value_or(0));
                                   return done(engine.set_restart_policy(a[0], a[1], retries));
                                 }};
  verbs["find"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                     TRY_ASSIGN(auto container, engine.find_container(a[0]));
                     return found_json(container);
                   }};
  verbs["list"] = {0, [](EngineClient& engine, const Arguments& a) { return run_list(engine, a); }};
  verbs["wait"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                     TRY_ASSIGN(int code, engine.wait(a[0], {}));
                     return Json{{"exit_code", code}};
                   }};
}

void add_streams_and_volumes(Verbs& verbs) {
  verbs["logs"] = {
      1, [](EngineClient& engine, const Arguments& a) { return run_logs(engine, a[0], {}); }};
  verbs["follow"] = {1, [](EngineClient& engine, const Arguments& a) {
                       LogOptions options;
                       options.follow = true;
                       return run_logs(engine, a[0], options);
                     }};
  verbs["log-tail"] = {2, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                         auto lines = static_cast<std::uint32_t>(parse_uint(a[1]).value_or(10));
                         TRY_ASSIGN(std::vector<std::string> tail, log_tail(engine, a[0], lines));
                         return Json{{"lines", tail}};
                       }};
  verbs["exec"] = {3, [](EngineClient& engine, const Arguments& a) { return run_exec(engine, a); }};
  verbs["find-volume"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                            TRY_ASSIGN(auto volume, engine.find_volume(a[0]));
                            return found_json(volume);
                          }};
  verbs["create-volume"] = {1, [](EngineClient& engine, const Arguments& a) -> Result<Json> {
                              TRY_ASSIGN(Volume volume,
                                         engine.create_volume(a[0], {{"cairn.test", "1"}}));
                              return to_json(volume);
                            }};
  verbs["remove-volume"] = {
      1, [](EngineClient& engine, const Arguments& a) { return done(engine.remove_volume(a[0])); }};
  verbs["list-volumes"] = {0, [](EngineClient& engine, const Arguments&) -> Result<Json> {
                             TRY_ASSIGN(std::vector<Volume> list, engine.list_volumes());
                             Json volumes = Json::array();
                             for (const Volume& volume : list) volumes.push_back(to_json(volume));
                             return Json{{"volumes", volumes}};
                           }};
}

int run(const Arguments& arguments) {
  Verbs verbs;
  add_system_and_images(verbs);
  add_containers(verbs);
  add_streams_and_volumes(verbs);
  auto verb = arguments.size() < 2 ? verbs.end() : verbs.find(arguments[1]);
  if (verb == verbs.end() || arguments.size() - 2 < verb->second.arguments_min) {
    fmt::print(stderr, "usage: cairn_engine_tool SOCKET VERB [ARGUMENT...]\n");
    return 2;
  }
  EngineClient engine(arguments[0]);
  Result<Json> answer = verb->second.run(engine, {arguments.begin() + 2, arguments.end()});
  Json printed = answer.ok() ? answer.value()
                             : Json{{"error",
                                     {{"code", code_name(answer.error().code())},
                                      {"message", answer.error().message()}}}};
  fmt::print("{}\n", printed.dump(-1, ' ', false, Json::error_handler_t::replace));
  return answer.ok() ? 0 : 1;
}

}  // namespace
}  // namespace cairn::docker

int main(int argc, char** argv) {
  return cairn::docker::run({argv + 1, argv + argc});
}
