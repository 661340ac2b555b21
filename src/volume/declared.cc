#include "volume/declared.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/strings.h"
#include "os/dir.h"

namespace cairn::volume {

namespace {

constexpr std::size_t kSourceBytesMax = 1024;
constexpr std::size_t kVolumeNameBytesMax = 200;

// "/a/b": absolute, no empty, "." or ".." component, no trailing slash, not "/" itself.
bool is_clean_absolute(std::string_view path, std::size_t bytes_max) {
  if (path.size() < 2 || path[0] != '/' || path.size() > bytes_max) return false;
  for (const std::string& part : split(path.substr(1), '/')) {
    if (!os::check_component(part).ok()) return false;
  }
  return is_utf8(path);
}

bool is_clean_relative(std::string_view path) {
  if (path.empty() || path.size() > kSourceBytesMax) return false;
  for (const std::string& part : split(path, '/')) {
    // A name of Cairn's own in a volume's path would hide a volume among staged trees.
    if (!os::check_component(part).ok() || part == ".cairn") return false;
  }
  return is_utf8(path);
}

bool is_volume_name(std::string_view name) {
  static constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return name.size() >= 2 && name.size() <= kVolumeNameBytesMax && name[0] != '.' &&
         name[0] != '-' && name[0] != '_' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

using Faults = std::vector<std::pair<std::string, std::string>>;  // key, sentence

Faults faults_of_target(const std::string& target) {
  if (is_clean_absolute(target, kTargetBytesMax)) return {};
  return {{"target", "an absolute container path without '.', '..' or a trailing slash"}};
}

// What is wrong with one volume.
Faults faults_of(const DeclaredVolume& volume) {
  Faults out = faults_of_target(volume.target);
  switch (volume.scope) {
    case Scope::kAbsolute:
      if (!is_clean_absolute(volume.source, kSourceBytesMax)) {
        out.emplace_back("source", "an absolute path on the host without '.' or '..'");
      }
      break;
    case Scope::kStage:
    case Scope::kProject:
    case Scope::kInstance:
      if (!is_clean_relative(volume.source)) {
        out.emplace_back("source", "a relative path such as 'data', without '.' or '..'");
      }
      break;
    case Scope::kNamed:
    case Scope::kProjectNamed:
      if (!is_volume_name(volume.name)) {
        out.emplace_back("name", "a volume name of at least two letters, digits, '_', '.' and '-'");
      }
      break;
    case Scope::kEphemeral:
      break;
  }
  return out;
}

}  // namespace

std::string_view scope_name(Scope scope) {
  switch (scope) {
    case Scope::kAbsolute:
      return "absolute";
    case Scope::kStage:
      return "stage";
    case Scope::kProject:
      return "project";
    case Scope::kInstance:
      return "instance";
    case Scope::kNamed:
      return "named";
    case Scope::kProjectNamed:
      return "project_named";
    case Scope::kEphemeral:
      return "ephemeral";
  }
  return "";
}

Result<Scope> parse_scope(std::string_view text) {
  for (const Scope scope : {Scope::kAbsolute, Scope::kStage, Scope::kProject, Scope::kInstance,
                            Scope::kNamed, Scope::kProjectNamed, Scope::kEphemeral}) {
    if (scope_name(scope) == text) return scope;
  }
  return Error(Code::kInvalid, "unknown scope '" + printable(text, 40) +
                                   "': one of absolute, stage, project, instance, named, "
                                   "project_named, ephemeral");
}

bool is_capturable(Scope scope) {
  return scope != Scope::kEphemeral;
}

namespace {

std::string text_key(const nlohmann::json& object,
                     const char* key,
                     const std::string& field,
                     std::vector<Reason>& faults) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (!found->is_string()) {
    faults.push_back({field + "." + key, "wrong_type", "must be a text"});
    return {};
  }
  return found->get<std::string>();
}

}  // namespace

std::vector<DeclaredVolume> parse_volumes(const nlohmann::json& array,
                                          const std::string& field,
                                          std::vector<Reason>& faults) {
  std::vector<DeclaredVolume> out;
  if (!array.is_array()) {
    faults.push_back({field, "wrong_type", "must be a list of volumes"});
    return out;
  }
  if (array.size() > kVolumesMax) {
    faults.push_back({field, "too_many", fmt::format("at most {} volumes", kVolumesMax)});
    return out;
  }
  static const std::set<std::string> kKeys{"source", "target", "scope", "name"};
  std::set<std::string> targets;
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", field, i);
    if (!array[i].is_object()) {
      faults.push_back({at, "wrong_type", "must be a record"});
      continue;
    }
    for (const auto& item : array[i].items()) {
      if (!kKeys.contains(item.key())) {
        faults.push_back({at + "." + printable(item.key(), 60), "unknown_key", "unknown key"});
      }
    }
    DeclaredVolume volume;
    volume.target = text_key(array[i], "target", at, faults);
    volume.source = text_key(array[i], "source", at, faults);
    volume.name = text_key(array[i], "name", at, faults);
    const auto scope = parse_scope(text_key(array[i], "scope", at, faults));
    if (scope.ok()) {
      volume.scope = *scope;
    } else {
      faults.push_back({at + ".scope", "unknown_scope", scope.error().message()});
    }
    // Without a scope nobody knows what the source has to be.
    for (const auto& [key, sentence] :
         scope.ok() ? faults_of(volume) : faults_of_target(volume.target)) {
      faults.push_back({at + "." + key, "invalid", "must be " + sentence});
    }
    if (!targets.insert(volume.target).second) {
      faults.push_back({at + ".target", "duplicate", "another volume has this target"});
    }
    if (scope.ok()) out.push_back(std::move(volume));
  }
  return out;
}

Result<DeclaredVolume> check_volume(const catalog::VolumeRow& row) {
  TRY_ASSIGN(const Scope scope, parse_scope(row.scope));
  DeclaredVolume volume{
      .target = row.target, .scope = scope, .source = row.source, .name = row.name};
  std::vector<Reason> faults;
  for (const auto& [key, sentence] : faults_of(volume)) {
    faults.push_back({key, "invalid", "must be " + sentence});
  }
  if (faults.empty()) return volume;
  const std::string first = faults[0].target + " " + faults[0].detail;
  return Error(Code::kInvalid, "volume " + printable(row.target) + ": " + first,
               {.reasons = std::move(faults)});
}

bool is_target(std::string_view path) {
  return is_clean_absolute(path, kTargetBytesMax);
}

std::vector<DeclaredVolume> merge_volumes(const std::vector<DeclaredVolume>& inline_volumes,
                                          const std::vector<DeclaredVolume>& persisted) {
  std::map<std::string, DeclaredVolume> by_target;
  for (const DeclaredVolume& volume : inline_volumes) by_target[volume.target] = volume;
  for (const DeclaredVolume& volume : persisted) by_target[volume.target] = volume;
  std::vector<DeclaredVolume> out;
  for (auto& [target, volume] : by_target) out.push_back(std::move(volume));
  return out;
}

}  // namespace cairn::volume
