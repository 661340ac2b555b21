#include "docker/inspect.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/strings.h"
#include "docker/json_read.h"

namespace cairn::docker {

namespace {

State parse_state(const std::string& text, JsonFault& fault) {
  for (State state : {State::kCreated, State::kRunning, State::kPaused, State::kRestarting,
                      State::kExited, State::kDead, State::kRemoving}) {
    if (text == state_name(state)) return state;
  }
  // Podman has words of its own.
  if (text == "configured" || text == "initialized") return State::kCreated;
  if (text == "stopping") return State::kRunning;
  if (text == "stopped") return State::kExited;
  fault.note("a container's state", "a known word");
  return State::kDead;
}

Health parse_health(const std::string& text) {
  if (text == "starting") return Health::kStarting;
  if (text == "healthy") return Health::kHealthy;
  if (text == "unhealthy") return Health::kUnhealthy;
  return Health::kNone;
}

std::string without_slash(std::string name) {
  if (name.starts_with('/')) name.erase(0, 1);
  return name;
}

std::uint16_t parse_port(std::string_view text) {
  auto port = parse_uint(text);
  return port && *port <= 65535 ? static_cast<std::uint16_t>(*port) : std::uint16_t{0};
}

// Kinds that Cairn has no word for ("npipe", "cluster", "image") are left out: they hold no data of
// this host.
std::vector<ContainerMount> parse_mounts(const JsonReader& reader) {
  std::vector<ContainerMount> mounts;
  for (const JsonReader& item : reader.objects("Mounts")) {
    ContainerMount mount{.name = item.text("Name"),
                         .source = item.text("Source"),
                         .destination = item.text("Destination"),
                         .read_write = item.boolean("RW")};
    std::string type = item.text("Type");
    if (type == "bind") {
      mount.kind = Mount::Kind::kBind;
    } else if (type == "volume") {
      mount.kind = Mount::Kind::kVolume;
    } else if (type == "tmpfs") {
      mount.kind = Mount::Kind::kTmpfs;
    } else {
      continue;
    }
    mounts.push_back(std::move(mount));
  }
  return mounts;
}

void parse_state_into(const JsonReader& state, JsonFault& fault, Container& container) {
  container.state = parse_state(state.text("Status"), fault);
  container.running = state.boolean("Running");
  container.paused = state.boolean("Paused");
  container.restarting = state.boolean("Restarting");
  container.oom_killed = state.boolean("OOMKilled");
  container.exit_code = state.small_integer("ExitCode");
  container.pid = state.integer("Pid");
  container.started_ms = state.time_ms("StartedAt");
  container.finished_ms = state.time_ms("FinishedAt");
  container.error = state.text("Error");
  JsonReader health = state.object("Health");
  // Podman up to 4.x calls it Healthcheck.
  if (!state.has("Health") && state.has("Healthcheck")) health = state.object("Healthcheck");
  container.health = parse_health(health.text("Status"));
  for (const JsonReader& probe : health.objects("Log")) {
    container.health_log.push_back({.exit_code = probe.small_integer("ExitCode"),
                                    .output = probe.text("Output"),
                                    .ended_ms = probe.time_ms("End")});
  }
}

std::int64_t parse_health_interval_ms(const JsonReader& check) {
  constexpr std::int64_t kProbeIntervalMs = 30'000;  // of a check that names none
  const std::vector<std::string> test = check.texts("Test");
  if (test.empty() || test.front() == "NONE") return 0;
  const std::int64_t interval_ms = check.integer("Interval") / 1'000'000;
  return interval_ms > 0 ? interval_ms : kProbeIntervalMs;
}

void parse_network_into(const JsonReader& network, Container& container) {
  for (const auto& [name, endpoint] : network.object_map("Networks")) {
    std::string address = endpoint.text("IPAddress");
    if (!address.empty()) container.ip_addresses.emplace(name, std::move(address));
  }
  JsonReader ports = network.object("Ports");
  for (const std::string& name : network.names("Ports")) {  // "5432/tcp"
    auto slash = name.find('/');
    for (const JsonReader& binding : ports.objects(name.c_str())) {
      container.ports.push_back(
          {.host_ip = binding.text("HostIp"),
           .host_port = parse_port(binding.text("HostPort")),
           .container_port = parse_port(name.substr(0, slash)),
           .protocol = slash == std::string::npos ? "tcp" : name.substr(slash + 1)});
    }
  }
}

nlohmann::json format_mount(const Mount& mount) {
  nlohmann::json json = {{"Target", mount.target}, {"ReadOnly", mount.read_only}};
  switch (mount.kind) {
    case Mount::Kind::kBind:
      json["Type"] = "bind";
      json["Source"] = mount.source;
      break;
    case Mount::Kind::kVolume:
      json["Type"] = "volume";
      json["Source"] = mount.source;
      json["VolumeOptions"] = {{"NoCopy", mount.no_copy}};
      break;
    case Mount::Kind::kTmpfs:
      json["Type"] = "tmpfs";
      break;
  }
  return json;
}

nlohmann::json format_health_check(const HealthCheck& check) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  return {{"Test", check.test},
          {"Interval", check.interval_s * kSecond},
          {"Timeout", check.timeout_s * kSecond},
          {"StartPeriod", check.start_period_s * kSecond},
          {"Retries", check.retries}};
}

nlohmann::json format_host_config(const ContainerSpec& spec) {
  nlohmann::json host = nlohmann::json::object();
  host["Mounts"] = nlohmann::json::array();
  for (const Mount& mount : spec.mounts) host["Mounts"].push_back(format_mount(mount));
  host["PortBindings"] = nlohmann::json::object();
  for (const PortPublish& port : spec.publishes) {
    host["PortBindings"][std::to_string(port.container_port) + "/" + port.protocol].push_back(
        {{"HostIp", port.host_ip},
         {"HostPort", port.host_port == 0 ? "" : std::to_string(port.host_port)}});
  }
  host["RestartPolicy"] = {
      {"Name", spec.restart_policy},
      {"MaximumRetryCount", spec.restart_policy == "on-failure" ? spec.restart_retries_max : 0}};
  if (!spec.network.empty()) host["NetworkMode"] = spec.network;
  if (spec.nano_cpus > 0) host["NanoCpus"] = spec.nano_cpus;
  if (spec.memory_bytes > 0) host["Memory"] = spec.memory_bytes;
  if (spec.shm_bytes > 0) host["ShmSize"] = spec.shm_bytes;
  return host;
}

}  // namespace

Result<Container> parse_container(const nlohmann::json& document) {
  JsonFault fault;
  JsonReader root(document, fault);
  JsonReader config = root.object("Config");
  JsonReader host = root.object("HostConfig");
  Container container;
  container.id = root.text("Id");
  container.name = without_slash(root.text("Name"));
  container.image_id = root.text("Image");
  container.restart_count = root.small_integer("RestartCount");
  container.mounts = parse_mounts(root);
  parse_state_into(root.object("State"), fault, container);
  parse_network_into(root.object("NetworkSettings"), container);
  container.health_interval_ms = parse_health_interval_ms(config.object("Healthcheck"));
  container.exec_ids = root.texts("ExecIDs");
  container.image_ref = config.text("Image");
  container.labels = config.text_map("Labels");
  container.env = config.texts("Env");
  container.tty = config.boolean("Tty");
  // Podman tells a number here, the Docker engine a word.
  if (config.has("StopSignal")) container.stop_signal = config.text("StopSignal");
  if (config.has("StopTimeout")) container.stop_timeout_s = config.small_integer("StopTimeout");
  JsonReader policy = host.object("RestartPolicy");
  container.restart_policy = policy.text("Name");
  if (container.restart_policy.empty()) container.restart_policy = "no";
  container.restart_retries_max = policy.small_integer("MaximumRetryCount");
  TRY(fault.status());
  if (container.id.empty()) return Error(Code::kCorrupt, "the engine's reply: no container id");
  return container;
}

Result<Exec> parse_exec(const nlohmann::json& document) {
  JsonFault fault;
  JsonReader root(document, fault);
  Exec exec{.running = root.boolean("Running"), .pid = root.integer("Pid"), .exit_code = {}};
  if (root.has("ExitCode")) exec.exit_code = root.small_integer("ExitCode");
  TRY(fault.status());
  return exec;
}

Result<std::vector<ContainerSummary>> parse_container_list(const nlohmann::json& document) {
  JsonFault fault;
  std::vector<ContainerSummary> list;
  for (const JsonReader& item : JsonReader::array(document, fault)) {
    ContainerSummary summary{.id = item.text("Id"),
                             .name = {},
                             .image_id = item.text("ImageID"),
                             .image_ref = item.text("Image"),
                             .state = parse_state(item.text("State"), fault),
                             .labels = item.text_map("Labels"),
                             .mounts = parse_mounts(item),
                             .created_ms = item.integer("Created") * 1000};
    // Links add names such as "/other/alias"; the container's own has one slash.
    for (const std::string& name : item.texts("Names")) {
      if (std::ranges::count(name, '/') <= 1) summary.name = without_slash(name);
    }
    list.push_back(std::move(summary));
  }
  TRY(fault.status());
  return list;
}

Result<Image> parse_image(const nlohmann::json& document) {
  JsonFault fault;
  JsonReader root(document, fault);
  JsonReader config = root.object("Config");
  Image image{.id = root.text("Id"),
              .repo_tags = root.texts("RepoTags"),
              .repo_digests = root.texts("RepoDigests"),
              .volumes = config.names("Volumes"),
              .exposed_ports = {},
              .user = config.text("User"),
              .labels = config.text_map("Labels"),
              .size_bytes = {}};
  if (root.has("Size")) image.size_bytes = root.integer("Size");
  std::vector<std::string> test = config.object("Healthcheck").texts("Test");
  image.has_healthcheck = !test.empty() && test.front() != "NONE";
  for (const std::string& name : config.names("ExposedPorts")) {
    auto slash = name.find('/');
    if (slash != std::string::npos && name.substr(slash) != "/tcp") continue;
    if (auto port = parse_port(name.substr(0, slash)); port != 0)
      image.exposed_ports.push_back(port);
  }
  std::ranges::sort(image.volumes);
  std::ranges::sort(image.exposed_ports);
  TRY(fault.status());
  if (image.id.empty()) return Error(Code::kCorrupt, "the engine's reply: no image id");
  // Podman leaves the algorithm out.
  if (image.id.find(':') == std::string::npos) image.id.insert(0, "sha256:");
  return image;
}

namespace {

Volume read_volume(const JsonReader& reader) {
  return {.name = reader.text("Name"),
          .driver = reader.text("Driver"),
          .mountpoint = reader.text("Mountpoint"),
          .options = reader.text_map("Options"),
          .labels = reader.text_map("Labels")};
}

}  // namespace

Result<Volume> parse_volume(const nlohmann::json& document) {
  JsonFault fault;
  Volume volume = read_volume(JsonReader(document, fault));
  TRY(fault.status());
  if (volume.name.empty()) return Error(Code::kCorrupt, "the engine's reply: no volume name");
  return volume;
}

Result<std::vector<Volume>> parse_volume_list(const nlohmann::json& document) {
  JsonFault fault;
  std::vector<Volume> volumes;
  for (const JsonReader& item : JsonReader(document, fault).objects("Volumes")) {
    volumes.push_back(read_volume(item));
  }
  TRY(fault.status());
  return volumes;
}

Result<Info> parse_info(const nlohmann::json& document) {
  JsonFault fault;
  JsonReader root(document, fault);
  Info info{.docker_root = root.text("DockerRootDir"),
            .storage_driver = root.text("Driver"),
            .cgroup_version = root.text("CgroupVersion"),
            .live_restore = root.boolean("LiveRestoreEnabled")};
  bool mapped = false;
  for (const std::string& option : root.texts("SecurityOptions")) {
    if (option == "name=rootless") info.rootless = true;
    if (option == "name=userns") mapped = true;
  }
  TRY(fault.status());
  // With userns-remap the engine keeps its data beneath "<root>/<uid>.<gid>", the host's ids of the
  // containers' root; no other field tells them.
  if (mapped) {
    std::string_view base = info.docker_root;
    base.remove_prefix(base.rfind('/') == std::string_view::npos ? 0 : base.rfind('/') + 1);
    auto dot = base.find('.');
    auto uid = parse_uint(base.substr(0, dot));
    auto gid = dot == std::string_view::npos ? std::nullopt : parse_uint(base.substr(dot + 1));
    if (!uid || !gid || *uid > UINT32_MAX || *gid > UINT32_MAX) {
      return Error(Code::kCorrupt, "the engine maps users, but its root directory names no ids");
    }
    info.userns_uid_base = static_cast<std::uint32_t>(*uid);
    info.userns_gid_base = static_cast<std::uint32_t>(*gid);
  }
  return info;
}

Result<std::string> format_container(const ContainerSpec& spec) {
  nlohmann::json body = {{"Image", spec.image},
                         {"Env", spec.env},
                         {"Labels", spec.labels},
                         {"HostConfig", format_host_config(spec)}};
  if (!spec.command.empty()) body["Cmd"] = spec.command;
  if (!spec.entrypoint.empty()) body["Entrypoint"] = spec.entrypoint;
  if (!spec.user.empty()) body["User"] = spec.user;
  if (!spec.working_dir.empty()) body["WorkingDir"] = spec.working_dir;
  if (!spec.stop_signal.empty()) body["StopSignal"] = spec.stop_signal;
  if (spec.stop_timeout_s) body["StopTimeout"] = *spec.stop_timeout_s;
  if (spec.health_check) body["Healthcheck"] = format_health_check(*spec.health_check);
  body["ExposedPorts"] = nlohmann::json::object();
  for (const PortPublish& port : spec.publishes) {
    body["ExposedPorts"][std::to_string(port.container_port) + "/" + port.protocol] =
        nlohmann::json::object();
  }
  if (!spec.network.empty() && !spec.aliases.empty()) {
    body["NetworkingConfig"]["EndpointsConfig"][spec.network] = {{"Aliases", spec.aliases}};
  }
  return to_text(body);
}

}  // namespace cairn::docker
