#include "workload/image_name.h"

#include <algorithm>

#include "docker/reference.h"
#include "workload/limits.h"

namespace cairn::workload {
namespace {

constexpr std::string_view kHub = "docker.io/";

// A registry is a first component with a dot or a port, or "localhost".
bool is_registry(std::string_view part) {
  return part == "localhost" || part.find_first_of(".:") != std::string_view::npos;
}

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

std::string full_repository(std::string_view repository) {
  for (const std::string_view hub : {kHub, std::string_view("index.docker.io/")}) {
    if (repository.starts_with(hub)) repository.remove_prefix(hub.size());
  }
  const auto slash = repository.find('/');
  if (slash == std::string_view::npos) {
    return std::string(kHub) + "library/" + std::string(repository);
  }
  if (is_registry(repository.substr(0, slash))) return std::string(repository);
  return std::string(kHub) + std::string(repository);
}

std::optional<std::string> digest_of(const std::vector<std::string>& repo_digests,
                                     std::string_view repository) {
  const std::string wanted = full_repository(repository);
  for (const std::string& entry : repo_digests) {
    const auto at = entry.find('@');
    if (at == std::string::npos) continue;
    if (full_repository(std::string_view(entry).substr(0, at)) == wanted) {
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
