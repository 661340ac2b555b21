#include "workload/image.h"

#include "base/strings.h"
#include "docker/reference.h"
#include "workload/image_name.h"
#include "workload/registry.h"

namespace cairn::workload {
namespace {

Error refused(std::string field, std::string code, std::string message) {
  ErrorDetail detail;
  detail.reasons.push_back({std::move(field), std::move(code), message});
  return {Code::kRefused, std::move(message), std::move(detail)};
}

Error refused(std::string code, std::string message) {
  return refused("config.image", std::move(code), std::move(message));
}

// What a registry's refusal means to the person who named the registry, or did not.
Error login_refused(const std::optional<catalog::Registry>& registry, const std::string& message) {
  return refused(
      "config.registry_name", "login_refused",
      registry.has_value()
          ? message + " (registry " + registry->name + ", " + registry->url + ", as user " +
                registry->user + ")"
          : message + " (without a login: config.registry_name names a registry that has one)");
}

Status pull(const Core& core,
            const ImageConfig& config,
            const std::optional<catalog::Registry>& registry,
            const std::string& tag,
            Progress& progress,
            std::stop_token stop) {
  progress.phase("pull");
  std::optional<docker::RegistryAuth> auth;
  if (registry.has_value()) auth = auth_of(*registry);
  const Status pulled = core.engine.pull_image(config.image, tag, auth, progress, std::move(stop));
  if (pulled.ok()) return pulled;
  const std::string& message = pulled.error().message();
  switch (pulled.error().code()) {
    case Code::kUnavailable:
      // The engine says so of itself and of a registry; only its own absence is worth waiting for.
      if (!core.engine.ping().ok()) return pulled;
      return refused("pull_failed", message);
    case Code::kCancelled:
    case Code::kNoSpace:
      return pulled;
    case Code::kNotFound:
      return refused("image_missing", message);
    case Code::kDenied:
      return login_refused(registry, message);
    case Code::kInvalid:
    case Code::kExists:
    case Code::kConflict:
    case Code::kBusy:
    case Code::kRefused:
    case Code::kUnhealthy:
    case Code::kCorrupt:
    case Code::kInternal:
      break;
  }
  return refused("pull_failed", message);
}

}  // namespace

Result<std::string> tag_of(const ImageConfig& config, const std::string& requested) {
  const std::string& known = requested.empty() ? config.default_tag : requested;
  const std::string tag = known.empty() ? "latest" : known;
  if (docker::is_tag(tag) || docker::is_digest(tag)) return tag;
  ErrorDetail detail;
  detail.reasons.push_back({"tag", "invalid", "must be a tag or sha256: and 64 hex digits"});
  return Error(Code::kInvalid, "not a tag: " + printable(tag, 64), std::move(detail));
}

Result<FetchedImage> fetch_image(const Core& core,
                                 const ImageConfig& config,
                                 const std::optional<catalog::Registry>& registry,
                                 const std::string& requested,
                                 Progress& progress,
                                 std::stop_token stop) {
  FetchedImage fetched;
  TRY_ASSIGN(fetched.tag, tag_of(config, requested));
  const std::string reference = join_reference(config.image, fetched.tag);
  if (config.pull == Pull::kAlways) TRY(pull(core, config, registry, fetched.tag, progress, stop));
  TRY_ASSIGN(std::optional<docker::Image> image, core.engine.find_image(reference));
  if (!image.has_value() && config.pull == Pull::kMissing) {
    TRY(pull(core, config, registry, fetched.tag, progress, stop));
    TRY_ASSIGN(image, core.engine.find_image(reference));
  }
  if (!image.has_value()) {
    return refused("image_missing",
                   config.pull == Pull::kNever
                       ? "image " + reference + " is not on this machine, and pull is \"never\""
                       : "image " + reference + " is not there after its pull");
  }
  fetched.digest = digest_of(image->repo_digests, config.image).value_or("");
  fetched.image = std::move(*image);
  return fetched;
}

}  // namespace cairn::workload
