// EngineClient: named volumes.
#include <nlohmann/json.hpp>

#include "docker/client.h"
#include "docker/inspect.h"
#include "docker/json_read.h"
#include "docker/wire.h"

namespace cairn::docker {

Result<std::optional<Volume>> EngineClient::find_volume(const std::string& name) {
  TRY(check_object_name(name));
  auto document = wire_->get_json("/volumes/" + name);
  if (!document.ok()) {
    if (document.error().code() == Code::kNotFound) return std::optional<Volume>();
    return document.error().with_context("inspect volume " + name);
  }
  TRY_ASSIGN(Volume volume, parse_volume(*document));
  // Podman takes the front of a name for a name.
  if (volume.name != name) return std::optional<Volume>();
  return std::optional(std::move(volume));
}

Result<Volume> EngineClient::create_volume(const std::string& name, const Labels& labels) {
  TRY(check_object_name(name));
  TRY_ASSIGN(std::string body, to_text({{"Name", name}, {"Driver", "local"}, {"Labels", labels}}));
  auto reply = wire_->call("POST", "/volumes/create", body);
  if (!reply.ok()) return reply.error().with_context("create volume " + name);
  TRY_ASSIGN(nlohmann::json document, parse_json(reply->body));
  return parse_volume(document);
}

Status EngineClient::remove_volume(const std::string& name) {
  TRY(check_object_name(name));
  auto reply = wire_->call("DELETE", "/volumes/" + name);
  if (!reply.ok()) return reply.error().with_context("remove volume " + name);
  return {};
}

Result<std::vector<Volume>> EngineClient::list_volumes() {
  TRY_ASSIGN(nlohmann::json document, wire_->get_json("/volumes"));
  return parse_volume_list(document);
}

}  // namespace cairn::docker
