#include "workload/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "base/strings.h"
#include "docker/reference.h"
#include "workload/limits.h"

namespace cairn::workload {
namespace {

bool is_one_line(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return c == '\0' || c == '\n' || c == '\r'; });
}

// Names of workloads, by the registry that they name.
Result<std::map<std::string, std::vector<std::string>>> users_of_registries(const Core& core) {
  std::map<std::string, std::vector<std::string>> users;
  TRY_ASSIGN(const std::vector<catalog::Workload> workloads, core.catalog.workloads().list());
  for (const catalog::Workload& row : workloads) {
    TRY_ASSIGN(const ImageConfig config, config_from_json(row.config_json));
    if (!config.registry_name.empty()) users[config.registry_name].push_back(row.name);
  }
  return users;
}

Error field_fault(std::string field, std::string code, std::string detail) {
  std::string message = field + " " + detail;
  return {Code::kInvalid,
          std::move(message),
          {.reasons = {{std::move(field), std::move(code), std::move(detail)}}}};
}

}  // namespace

Result<std::vector<RegistryView>> view_registries(const Core& core) {
  TRY_ASSIGN(auto rows, core.catalog.registries().list());
  TRY_ASSIGN(const auto users, users_of_registries(core));
  std::vector<RegistryView> views;
  for (catalog::Registry& row : rows) {
    row.password.clear();
    const auto named = users.find(row.name);
    RegistryView view;
    if (named != users.end()) view.workloads = named->second;
    view.row = std::move(row);
    views.push_back(std::move(view));
  }
  return views;
}

Status check_registry(const catalog::Registry& registry) {
  std::vector<Reason> faults;
  if (const Status good = check_name(registry.name); !good.ok()) {
    faults.push_back({"name", "invalid", good.error().message()});
  }
  if (!docker::is_registry(registry.url)) {
    faults.push_back({"url", "invalid",
                      "must be HOST or HOST:PORT as in image names, without a scheme; a host "
                      "without a dot needs its port"});
  }
  if (registry.user.empty() || registry.user.size() > kShortTextBytesMax ||
      !is_one_line(registry.user)) {
    faults.push_back(
        {"user", "invalid", fmt::format("must be one line of 1 to {} bytes", kShortTextBytesMax)});
  }
  if (registry.password.empty() || registry.password.size() > kRegistryPasswordBytesMax ||
      !is_one_line(registry.password)) {
    faults.push_back({"password", "invalid",
                      fmt::format("must be one line of 1 to {} bytes", kRegistryPasswordBytesMax)});
  }
  if (faults.empty()) return {};
  std::string message = "the registry is wrong: " + faults[0].target + " " + faults[0].detail;
  return Error(Code::kInvalid, std::move(message), {.reasons = std::move(faults)});
}

Status remove_registry(const Core& core, const std::string& name) {
  // Nobody can begin to name it between the look and the removal.
  return core.catalog.atomically([&core, &name]() -> Status {
    TRY_ASSIGN(const auto users, users_of_registries(core));
    const auto named = users.find(name);
    if (named == users.end()) return core.catalog.registries().remove(name);
    return Error(Code::kConflict,
                 fmt::format("registry {} is named by {}", name, fmt::join(named->second, ", ")));
  });
}

Result<std::optional<catalog::Registry>> use_registry(const Core& core, ImageConfig& config) {
  if (config.registry_name.empty()) return std::optional<catalog::Registry>();
  TRY_ASSIGN(auto registry, core.catalog.registries().find(config.registry_name));
  if (!registry.has_value()) {
    return field_fault("config.registry_name", "unknown",
                       fmt::format("names no registry that is known: cairn registry set {0} "
                                   "--url HOST[:PORT] --user USER",
                                   config.registry_name));
  }
  TRY_ASSIGN(const docker::Reference image, docker::parse_reference(config.image));
  if (image.registry.empty()) {
    config.image = registry->url + "/" + config.image;
  } else if (image.registry != registry->url) {
    return field_fault("config.image", "wrong_registry",
                       fmt::format("is on {}, but registry {} is {}", image.registry,
                                   registry->name, registry->url));
  }
  return registry;
}

docker::RegistryAuth auth_of(const catalog::Registry& registry) {
  return {.username = registry.user,
          .password = registry.password,
          .identity_token = {},
          .server_address = registry.url};
}

}  // namespace cairn::workload
