#include "workload/image_name.h"

#include <algorithm>

#include "docker/reference.h"
#include "workload/limits.h"

namespace cairn::workload {
namespace {

bool fits_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '-';
}

}  // namespace

std::string join_reference(std::string_view repository, std::string_view tag) {
  std::string joined(repository);
  joined += docker::is_digest(tag) ? '@' : ':';
  joined += tag;
  return joined;
}

std::optional<std::string> digest_of(const std::vector<std::string>& repo_digests,
                                     std::string_view repository) {
  const std::string wanted = docker::full_repository(repository);
  for (const std::string& entry : repo_digests) {
    const auto at = entry.find('@');
    if (at == std::string::npos) continue;
    if (docker::full_repository(std::string_view(entry).substr(0, at)) == wanted) {
      return entry.substr(at + 1);
    }
  }
  return std::nullopt;
}

std::string tag_for_name(std::string_view tag) {
  std::string name(tag.substr(0, kContainerTagBytesMax));
  std::replace_if(name.begin(), name.end(), [](char c) { return !fits_name(c); }, '-');
  return name.empty() ? "latest" : name;
}

}  // namespace cairn::workload
