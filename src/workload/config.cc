#include "workload/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "workload/limits.h"

namespace cairn::workload {

using nlohmann::json;

std::string_view handover_name(Handover handover) {
  switch (handover) {
    case Handover::kAuto:
      return "auto";
    case Handover::kOverlap:
      return "overlap";
    case Handover::kStopFirst:
      return "stop-first";
  }
  return "";
}

std::string_view pull_name(Pull pull) {
  switch (pull) {
    case Pull::kAlways:
      return "always";
    case Pull::kMissing:
      return "missing";
    case Pull::kNever:
      return "never";
  }
  return "";
}

HealthKind health_kind(const ImageConfig& config) {
  const std::string& check = config.healthcheck;
  if (check.empty()) return HealthKind::kDefault;
  if (check.front() == '/') return HealthKind::kHttp;
  if (check == "tcp") return HealthKind::kTcp;
  if (check == "image") return HealthKind::kImage;
  return HealthKind::kExec;  // the only other form that parse_definition lets pass
}

namespace {

json volumes_json(const std::vector<volume::DeclaredVolume>& volumes) {
  json list = json::array();
  for (const auto& volume : volumes) {
    list.push_back({{"target", volume.target},
                    {"scope", volume::scope_name(volume.scope)},
                    {"source", volume.source},
                    {"name", volume.name}});
  }
  return list;
}

std::string publish_text(const Publish& publish) {
  std::string text = publish.host_ip;
  if (publish.host_ip.find(':') != std::string::npos) text = "[" + text + "]";
  if (!text.empty()) text += ':';
  text += std::to_string(publish.host_port) + ":" + std::to_string(publish.container_port);
  return publish.protocol == "tcp" ? text : text + "/" + publish.protocol;
}

json config_json(const ImageConfig& config) {
  json publish = json::array();
  for (const auto& one : config.publish) publish.push_back(publish_text(one));
  json stored = {{"image", config.image},
                 {"registry_name", config.registry_name},
                 {"default_tag", config.default_tag},
                 {"port", config.port},
                 {"healthcheck", config.healthcheck},
                 {"volumes", volumes_json(config.volumes)},
                 {"cpu_limit", config.cpu_limit},
                 {"memory_limit", config.memory_limit},
                 {"max_instances", config.max_instances},
                 {"command", config.command},
                 {"entrypoint", config.entrypoint},
                 {"user", config.user},
                 {"publish", std::move(publish)},
                 {"shm_size", config.shm_size},
                 {"stop_timeout", nullptr},
                 {"stop_signal", config.stop_signal},
                 {"handover", handover_name(config.handover)},
                 {"pull", pull_name(config.pull)}};
  if (config.stop_timeout.has_value()) stored["stop_timeout"] = *config.stop_timeout;
  return stored;
}

}  // namespace

std::string config_to_json(const ImageConfig& config) {
  return config_json(config).dump();
}

std::string volumes_to_json(const std::vector<volume::DeclaredVolume>& volumes) {
  std::vector<volume::DeclaredVolume> sorted = volumes;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.target < b.target; });
  return volumes_json(sorted).dump();
}

std::string faces_to_json(const std::vector<Face>& faces) {
  json list = json::array();
  for (const Face& face : faces) {
    list.push_back({{"subdomain", face.subdomain},
                    {"domain", face.domain},
                    {"target_port", face.target_port},
                    {"access_list_id", face.access_list_id}});
  }
  return list.dump();
}

json show_config(const ImageConfig& config) {
  json shown = config_json(config);
  json env = json::object();
  for (const auto& [name, value] : config.env) env[name] = kMaskedValue;
  shown["env"] = std::move(env);
  return shown;
}

Handover effective_handover(const ImageConfig& config,
                            const std::vector<volume::DeclaredVolume>& volumes) {
  if (config.handover != Handover::kAuto) return config.handover;
  const bool keeps_data = std::any_of(volumes.begin(), volumes.end(), [](const auto& volume) {
    return volume.scope != volume::Scope::kEphemeral && volume.scope != volume::Scope::kInstance;
  });
  return keeps_data || !config.publish.empty() ? Handover::kStopFirst : Handover::kOverlap;
}

std::optional<Reason> check_handover(const ImageConfig& config,
                                     const std::vector<volume::DeclaredVolume>& volumes) {
  if (config.max_instances <= 1) return std::nullopt;
  if (effective_handover(config, volumes) != Handover::kStopFirst) return std::nullopt;
  const std::string why = config.handover == Handover::kStopFirst
                              ? "handover is \"stop-first\""
                              : "a volume that keeps data or a published port makes it stop-first";
  return Reason{"config.max_instances", "stop_first", "must be 1: " + why};
}

}  // namespace cairn::workload
