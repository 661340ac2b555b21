#include "volume/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/strings.h"
#include "codec/json_scan.h"
#include "volume/declared.h"

namespace cairn::volume {

namespace {

using nlohmann::json;

Error refuse(const std::string& why) {
  return Error(Code::kInvalid, "the manifest " + why);
}

Result<json> parse_once(std::string_view text) {
  const std::string fault = codec::scan_json(text).fault();
  if (!fault.empty()) return refuse(fault);
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded() || !value.is_object()) return refuse("is not a JSON object");
  return value;
}

Result<int> parse_index(const json& volume) {
  const auto found = volume.find("index");
  if (found == volume.end() || !found->is_number_integer()) {
    return refuse("has a volume whose index is not a number");
  }
  // A negative one has another type than those that are not.
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() >= kVolumesMax) {
    return refuse("has a volume whose index is out of range");
  }
  return found->get<int>();
}

Result<ManifestVolume> parse_volume(const json& volume) {
  if (!volume.is_object()) return refuse("has a volume that is not a record");
  ManifestVolume out;
  TRY_ASSIGN(out.index, parse_index(volume));
  const auto target = volume.find("target");
  if (target == volume.end() || !target->is_string()) {
    return refuse("has a volume without a target");
  }
  out.target = target->get<std::string>();
  if (!is_target(out.target)) return refuse("has a target that no volume may have");
  for (const char* shown : {"scope", "source"}) {
    const auto text = volume.find(shown);
    if (text != volume.end() && !text->is_string()) {
      return refuse("has a " + std::string(shown) + " that is not text");
    }
  }
  return out;
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text) {
  if (text.size() > kManifestBytesMax) return refuse("is larger than allowed");
  TRY_ASSIGN(const json value, parse_once(text));
  const auto version = value.find("version");
  if (version == value.end() || !version->is_number_integer() || *version != kManifestVersion) {
    return refuse("is of a version that is not known here");
  }
  const auto volumes = value.find("volumes");
  if (volumes == value.end() || !volumes->is_array() || volumes->empty() ||
      volumes->size() > kVolumesMax) {
    return refuse("names no volumes, or too many");
  }
  Manifest out;
  std::set<int> indexes;
  std::set<std::string> targets;
  for (const json& one : *volumes) {
    TRY_ASSIGN(ManifestVolume volume, parse_volume(one));
    if (!indexes.insert(volume.index).second) return refuse("has an index twice");
    if (!targets.insert(volume.target).second) return refuse("has a target twice");
    out.volumes.push_back(std::move(volume));
  }
  std::ranges::sort(out.volumes, {}, &ManifestVolume::index);
  return out;
}

}  // namespace cairn::volume
