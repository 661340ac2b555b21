// What engines say, as they say it: texts in the shape of API 1.41 and of Podman.
#include "docker/inspect.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::docker {
namespace {

using Json = nlohmann::json;

Json container_json() {
  return Json::parse(R"({
    "Id": "abc", "Name": "/web", "Image": "sha256:1", "RestartCount": 2,
    "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false,
              "OOMKilled": false, "Pid": 42, "ExitCode": 0, "Error": "",
              "StartedAt": "2026-01-02T03:04:05.678901234Z", "FinishedAt": "0001-01-01T00:00:00Z",
              "Health": {"Status": "unhealthy", "FailingStreak": 3, "Log": [
                {"Start": "2026-01-02T03:04:06.5+01:00", "End": "2026-01-02T03:04:07.5+01:00",
                 "ExitCode": 1, "Output": "no"}]}},
    "ExecIDs": ["e1", "e2"],
    "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4}, "Unknown": []},
    "Config": {"Image": "app:v1", "Labels": {"a": "b"}, "Env": ["K=V"], "Tty": false,
               "Healthcheck": {"Test": ["CMD", "x"], "Interval": 2000000000}, "StopSignal": "SIGINT", "StopTimeout": 7},
    "Mounts": [
      {"Type": "bind", "Source": "/srv", "Destination": "/data", "RW": true},
      {"Type": "volume", "Name": "v", "Source": "/var/v/_data", "Destination": "/v", "RW": false},
      {"Type": "npipe", "Source": "x", "Destination": "y"}],
    "NetworkSettings": {
      "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "53/udp": null},
      "Networks": {"cairn": {"IPAddress": "172.18.0.2"}, "off": {"IPAddress": ""}, "none": null}}
  })");
}

TEST(ParseContainer, ReadsWhatTheEngineSays) {
  auto container = parse_container(container_json());
  ASSERT_TRUE(container.ok()) << container.error().message();
  EXPECT_EQ(container->name, "web");
  EXPECT_EQ(container->state, State::kRunning);
  EXPECT_EQ(container->pid, 42);
  EXPECT_EQ(container->started_ms, 1767323045678);
  EXPECT_EQ(container->finished_ms, 0);
  EXPECT_EQ(container->health, Health::kUnhealthy);
  ASSERT_EQ(container->health_log.size(), 1U);
  EXPECT_EQ(container->health_log[0].output, "no");
  EXPECT_EQ(container->health_log[0].ended_ms, 1767319447500);
  EXPECT_EQ(container->health_interval_ms, 2000);
  EXPECT_EQ(container->exec_ids, (std::vector<std::string>{"e1", "e2"}));
  EXPECT_EQ(container->restart_policy, "on-failure");
  EXPECT_EQ(container->restart_retries_max, 4);
  EXPECT_EQ(container->stop_timeout_s, 7);
  ASSERT_EQ(container->mounts.size(), 2U);
  EXPECT_EQ(container->mounts[1].name, "v");
  EXPECT_FALSE(container->mounts[1].read_write);
  EXPECT_EQ(container->ip_addresses, (std::map<std::string, std::string>{{"cairn", "172.18.0.2"}}));
  EXPECT_EQ(
      container->ports,
      (std::vector<PortPublish>{
          {.host_ip = "127.0.0.1", .host_port = 8080, .container_port = 80, .protocol = "tcp"}}));
}

TEST(ParseContainer, KnowsHowOftenItIsProbed) {
  const auto interval_ms = [](const char* check) {
    Json json = container_json();
    json["Config"]["Healthcheck"] = Json::parse(check);
    return parse_container(json).value().health_interval_ms;
  };
  EXPECT_EQ(interval_ms("null"), 0);
  EXPECT_EQ(interval_ms(R"({"Test": []})"), 0);
  EXPECT_EQ(interval_ms(R"({"Test": ["NONE"], "Interval": 1000000000})"), 0);
  EXPECT_EQ(interval_ms(R"({"Test": ["CMD", "x"]})"), 30'000) << "the engine's default";
  EXPECT_EQ(interval_ms(R"({"Test": ["CMD", "x"], "Interval": 0})"), 30'000);
}

TEST(ParseExec, TellsAStartFromARun) {
  const auto parse = [](const char* text) { return parse_exec(Json::parse(text)).value(); };
  const Exec starts = parse(R"({"Running": true, "Pid": 0, "ExitCode": null})");
  EXPECT_TRUE(starts.running && starts.pid == 0 && !starts.exit_code);
  const Exec runs = parse(R"({"Running": true, "Pid": 7, "ExitCode": null})");
  EXPECT_TRUE(runs.running && runs.pid == 7 && !runs.exit_code);
  const Exec ended = parse(R"({"Running": false, "Pid": 7, "ExitCode": 3})");
  EXPECT_TRUE(!ended.running && ended.exit_code == 3);
  EXPECT_EQ(parse_exec(Json::parse(R"({"Pid": "x"})")).error().code(), Code::kCorrupt);
}

TEST(ParseContainer, ReadsPodmansHealth) {
  Json json = container_json();
  json["State"]["Healthcheck"] = json["State"]["Health"];
  json["State"].erase("Health");
  json["State"]["Status"] = "configured";
  auto container = parse_container(json);
  ASSERT_TRUE(container.ok());
  EXPECT_EQ(container->health, Health::kUnhealthy);
  EXPECT_EQ(container->state, State::kCreated);
}

// Every field in turn gets a value of another type: a fault or a default, never an exception.
TEST(ParseContainer, RefusesOtherTypes) {
  const Json flat = container_json().flatten();
  int refused = 0;
  for (const auto& [path, value] : flat.items()) {
    for (const Json& wrong : {Json(1.5), Json("text"), Json::array({1}), Json::object({{"x", 1}}),
                              Json(true), Json(nullptr), Json(UINT64_MAX)}) {
      Json json = container_json();
      json[Json::json_pointer(path)] = wrong;
      auto container = parse_container(json);
      if (!container.ok()) {
        EXPECT_EQ(container.error().code(), Code::kCorrupt);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 100);
  Json json = container_json();
  json["State"]["Pid"] = "42";
  auto container = parse_container(json);
  ASSERT_FALSE(container.ok());
  EXPECT_NE(container.error().message().find("State.Pid"), std::string::npos);
  EXPECT_FALSE(parse_container(Json::array()).ok());
  EXPECT_FALSE(parse_container(Json::object()).ok());
}

TEST(ParseContainerList, TakesTheOwnName) {
  auto list = parse_container_list(Json::parse(R"([
    {"Id": "1", "Names": ["/other/alias", "/web"], "State": "exited", "Labels": {"a": "b"},
     "Image": "app:v1", "ImageID": "sha256:1", "Created": 1767323045,
     "Mounts": [{"Type": "volume", "Name": "v", "Destination": "/v", "RW": true}]}])"));
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ(list->front().name, "web");
  EXPECT_EQ(list->front().state, State::kExited);
  EXPECT_EQ(list->front().created_ms, 1767323045000);
  EXPECT_EQ(list->front().mounts.front().name, "v");
  EXPECT_FALSE(parse_container_list(Json::parse(R"([1])")).ok());
  EXPECT_FALSE(parse_container_list(Json::parse(R"([{"Id": "1", "State": "odd"}])")).ok());
}

TEST(ParseImage, ReadsWhatADeployNeeds) {
  auto image = parse_image(Json::parse(R"({
    "Id": "1234", "RepoTags": ["app:v1"], "RepoDigests": null,
    "Config": {"User": "999", "Volumes": {"/b": {}, "/a": {}}, "Labels": null,
               "ExposedPorts": {"5432/tcp": {}, "53/udp": {}, "80/tcp": {}},
               "Healthcheck": {"Test": ["CMD", "true"]}}})"));
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->id, "sha256:1234");
  EXPECT_EQ(image->volumes, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(image->exposed_ports, (std::vector<std::uint16_t>{80, 5432}));
  EXPECT_TRUE(image->has_healthcheck);
  auto none = parse_image(
      Json::parse(R"({"Id": "sha256:1", "Config": {"Healthcheck": {"Test": ["NONE"]}}})"));
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_healthcheck);
}

TEST(ParseInfo, ReadsTheMappedIds) {
  auto plain = parse_info(Json::parse(R"({"DockerRootDir": "/var/lib/docker", "Driver": "overlay2",
    "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]})"));
  ASSERT_TRUE(plain.ok());
  EXPECT_TRUE(plain->rootless);
  EXPECT_EQ(plain->userns_uid_base, 0U);
  auto mapped = parse_info(Json::parse(
      R"({"DockerRootDir": "/var/lib/docker/165536.165537", "SecurityOptions": ["name=userns"]})"));
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->userns_uid_base, 165536U);
  EXPECT_EQ(mapped->userns_gid_base, 165537U);
  EXPECT_FALSE(
      parse_info(Json::parse(R"({"DockerRootDir": "/d", "SecurityOptions": ["name=userns"]})"))
          .ok());
}

TEST(FormatContainer, SaysAllOfTheSpec) {
  ContainerSpec spec;
  spec.name = "web";
  spec.image = "app@sha256:1";
  spec.command = {"run"};
  spec.env = {"K=V"};
  spec.labels = {{"a", "b"}};
  spec.network = "cairn";
  spec.aliases = {"web"};
  spec.nano_cpus = 500'000'000;
  spec.stop_timeout_s = 7;
  spec.restart_policy = "unless-stopped";
  spec.restart_retries_max = 9;
  spec.mounts = {{.kind = Mount::Kind::kVolume, .source = "v", .target = "/v", .no_copy = true},
                 {.kind = Mount::Kind::kBind, .source = "/srv", .target = "/b", .read_only = true}};
  spec.publishes = {{.host_ip = "127.0.0.1", .host_port = 0, .container_port = 80},
                    {.host_ip = "", .host_port = 81, .container_port = 80}};
  auto text = format_container(spec);
  ASSERT_TRUE(text.ok());
  Json json = Json::parse(*text);
  const Json& host = json["HostConfig"];
  EXPECT_EQ(json["Image"], "app@sha256:1");
  EXPECT_EQ(json["Cmd"], Json::array({"run"}));
  EXPECT_FALSE(json.contains("Entrypoint"));
  EXPECT_EQ(json["Labels"]["a"], "b");
  EXPECT_EQ(json["StopTimeout"], 7);
  EXPECT_EQ(host["RestartPolicy"]["Name"], "unless-stopped");
  EXPECT_EQ(host["RestartPolicy"]["MaximumRetryCount"], 0);
  EXPECT_EQ(host["Mounts"][0]["VolumeOptions"]["NoCopy"], true);
  EXPECT_EQ(host["Mounts"][1]["Source"], "/srv");
  EXPECT_EQ(host["Mounts"][1]["ReadOnly"], true);
  EXPECT_EQ(host["PortBindings"]["80/tcp"].size(), 2U);
  EXPECT_EQ(host["PortBindings"]["80/tcp"][0]["HostPort"], "");
  EXPECT_EQ(host["PortBindings"]["80/tcp"][1]["HostPort"], "81");
  EXPECT_FALSE(host.contains("Memory"));
  EXPECT_EQ(json["NetworkingConfig"]["EndpointsConfig"]["cairn"]["Aliases"], Json::array({"web"}));

  spec.env = {"K=\xff"};
  auto broken = format_container(spec);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace cairn::docker
