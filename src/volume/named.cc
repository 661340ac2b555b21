#include "volume/named.h"

#include <algorithm>

#include "base/strings.h"
#include "os/dir.h"
#include "volume/exchange.h"

namespace cairn::volume {

namespace {

constexpr std::string_view kLocalDriver = "local";

std::string option(const docker::Volume& volume, const char* key) {
  const auto found = volume.options.find(key);
  return found == volume.options.end() ? std::string() : found->second;
}

bool is_clean_absolute(const std::string& path) {
  if (path.size() < 2 || path.front() != '/') return false;
  const std::vector<std::string> parts = split(path.substr(1), '/');
  return std::ranges::all_of(parts,
                             [](const auto& part) { return os::check_component(part).ok(); });
}

void lies_at(ResolvedVolume& volume, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  volume.base = slash == 0 ? "/" : path.substr(0, slash);
  volume.relative = path.substr(slash + 1);
}

void refuse(ResolvedVolume& volume, std::string code, std::string detail) {
  volume.obstacle = Reason{volume.target, std::move(code), std::move(detail)};
}

}  // namespace

Status locate_volume(docker::Engine& engine, ResolvedVolume& volume) {
  const auto found = engine.find_volume(volume.name);
  if (!found.ok()) {
    if (found.error().code() != Code::kUnavailable) return found.error();
    refuse(volume, "unresolved", "the engine that keeps it does not answer");
    return {};
  }
  if (!found->has_value()) return {};
  const docker::Volume& there = **found;
  // The values of options are not repeated: those of a network share hold its password.
  if (there.driver != kLocalDriver) {
    refuse(volume, "unsupported_driver",
           "volume " + volume.name + " is of driver " + printable(there.driver, 80) +
               ": only those of driver local can be captured");
  } else if (there.options.empty() && is_clean_absolute(there.mountpoint)) {
    lies_at(volume, there.mountpoint);
  } else if (there.options.size() == 3 && option(there, "type") == "none" &&
             option(there, "o") == "bind" && is_clean_absolute(option(there, "device"))) {
    lies_at(volume, option(there, "device"));
    volume.engine_mount = there.mountpoint;
  } else {
    refuse(volume, "unsupported_driver",
           "volume " + volume.name + " of driver local has options (type " +
               printable(option(there, "type"), 40) +
               "): only type=none,o=bind with a path as device can be captured");
  }
  return {};
}

std::vector<std::string> staging_homes(docker::Engine& engine, const catalog::Place& place) {
  ResolvedVolume volume;
  volume.name = place.path_or_name;
  switch (place.kind) {
    case catalog::PlaceKind::kTmpfs:
      return {};
    case catalog::PlaceKind::kBind:
      lies_at(volume, place.path_or_name);
      break;
    case catalog::PlaceKind::kVolume:
      if (!locate_volume(engine, volume).ok() || volume.relative.empty()) return {};
      break;
  }
  std::vector<std::string> homes{volume.base};
  const auto root = open_place(volume);
  if (!root.ok()) return homes;
  const auto home = staging_home(*root);
  if (home.ok() && home->is_root) homes.push_back(volume.path());
  return homes;
}

}  // namespace cairn::volume
