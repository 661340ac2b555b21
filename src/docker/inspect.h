// What the engine's JSON says, as values. Pure; kCorrupt where a field has another type.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"
#include "docker/types.h"

namespace cairn::docker {

Result<Container> parse_container(const nlohmann::json& document);
Result<Exec> parse_exec(const nlohmann::json& document);
Result<std::vector<ContainerSummary>> parse_container_list(const nlohmann::json& document);
Result<Image> parse_image(const nlohmann::json& document);
Result<Volume> parse_volume(const nlohmann::json& document);
Result<std::vector<Volume>> parse_volume_list(const nlohmann::json& document);
Result<Info> parse_info(const nlohmann::json& document);

// The body of a create call. kInvalid where a text is not UTF-8.
Result<std::string> format_container(const ContainerSpec& spec);

}  // namespace cairn::docker
