// EngineClient: the engine itself and networks.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "docker/client.h"
#include "docker/inspect.h"
#include "docker/json_read.h"
#include "docker/wire.h"

namespace cairn::docker {

EngineClient::EngineClient(std::string socket_path)
    : wire_(std::make_unique<Wire>(std::move(socket_path))) {}
EngineClient::~EngineClient() = default;

Result<std::string> EngineClient::parse_address(std::string_view address) {
  constexpr std::string_view kScheme = "unix://";
  std::string_view path = address;
  if (path.starts_with(kScheme)) path.remove_prefix(kScheme.size());
  if (!path.starts_with('/')) {
    return Error(Code::kInvalid,
                 fmt::format("an engine's address is unix:///PATH, not {}", address));
  }
  return std::string(path);
}

Result<Version> EngineClient::ping() {
  TRY_ASSIGN(Wire::Negotiated negotiated, wire_->negotiate());
  TRY_ASSIGN(nlohmann::json document, wire_->get_json("/version"));
  JsonFault fault;
  JsonReader root(document, fault);
  Version version{.api = negotiated.api,
                  .api_max = negotiated.api_max,
                  .api_min = root.text("MinAPIVersion"),
                  .engine = root.text("Version")};
  for (const JsonReader& component : root.objects("Components")) {
    if (component.text("Name") == "Podman Engine") version.podman = true;
  }
  TRY(fault.status());
  return version;
}

Result<Info> EngineClient::info() {
  TRY_ASSIGN(nlohmann::json document, wire_->get_json("/info"));
  return parse_info(document);
}

Status EngineClient::ensure_network(const std::string& name) {
  TRY(check_object_name(name));
  // Asked for by filter and compared: the engine's own look-up takes the front of an id for a name.
  TRY_ASSIGN(std::string filter, to_text({{"name", nlohmann::json::array({name})}}));
  TRY_ASSIGN(nlohmann::json document, wire_->get_json("/networks" + query({{"filters", filter}})));
  JsonFault fault;
  for (const JsonReader& network : JsonReader::array(document, fault)) {
    if (network.text("Name") == name) return {};
  }
  TRY(fault.status());
  TRY_ASSIGN(std::string body,
             to_text({{"Name", name}, {"Driver", "bridge"}, {"CheckDuplicate", true}}));
  Status made = wire_->post("/networks/create", body);
  // Somebody was faster.
  if (!made.ok() && made.error().code() == Code::kConflict) return {};
  return made;
}

}  // namespace cairn::docker
