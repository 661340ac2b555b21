#include "workload/release_config.h"

#include <nlohmann/json.hpp>

namespace cairn::workload {

using nlohmann::json;

std::string release_config_to_json(const ReleaseConfig& config) {
  json taken = json::array();
  for (const TakenOver& one : config.takes_over) {
    taken.push_back({{"container", one.container_name},
                     {"restart_policy", one.restart_policy},
                     {"restart_retries_max", one.restart_retries_max}});
  }
  json stored = {{"config", json::parse(config_to_json(config.config))},
                 {"image_has_healthcheck", config.image_has_healthcheck},
                 {"network", config.network},
                 {"takes_over", std::move(taken)}};
  // Left out where it is empty, as in the rows of before it was known.
  if (!config.allow_anonymous.empty()) stored["allow_anonymous"] = config.allow_anonymous;
  return stored.dump();
}

Result<ReleaseConfig> release_config_from_json(const std::string& stored) {
  const Error damaged(Code::kCorrupt, "a stored release config is damaged");
  const json value = json::parse(stored, nullptr, false);
  if (!value.is_object()) return damaged;
  const auto config = value.find("config");
  const auto healthcheck = value.find("image_has_healthcheck");
  const auto network = value.find("network");
  const auto taken = value.find("takes_over");
  if (config == value.end() || healthcheck == value.end() || !healthcheck->is_boolean() ||
      network == value.end() || !network->is_string() || taken == value.end() ||
      !taken->is_array()) {
    return damaged;
  }
  ReleaseConfig release;
  TRY_ASSIGN(release.config, config_from_json(config->dump()));
  release.image_has_healthcheck = healthcheck->get<bool>();
  release.network = network->get<std::string>();
  if (const auto allowed = value.find("allow_anonymous"); allowed != value.end()) {
    if (!allowed->is_array()) return damaged;
    for (const json& item : *allowed) {
      if (!item.is_string()) return damaged;
      release.allow_anonymous.push_back(item.get<std::string>());
    }
  }
  for (const json& item : *taken) {
    const auto name = item.is_object() ? item.find("container") : item.end();
    const auto policy = item.is_object() ? item.find("restart_policy") : item.end();
    const auto retries = item.is_object() ? item.find("restart_retries_max") : item.end();
    if (!item.is_object() || name == item.end() || !name->is_string() || policy == item.end() ||
        !policy->is_string() || retries == item.end() || !retries->is_number_integer()) {
      return damaged;
    }
    release.takes_over.push_back({.container_name = name->get<std::string>(),
                                  .restart_policy = policy->get<std::string>(),
                                  .restart_retries_max = retries->get<int>()});
  }
  return release;
}

}  // namespace cairn::workload
