// References to images: [registry/]repository[:tag][@digest], by the grammar of
// github.com/distribution/reference. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn::docker {

inline constexpr std::size_t kRepositoryBytesMax = 255;
inline constexpr std::size_t kTagBytesMax = 128;

struct Reference {
  std::string registry;  // "localhost:5000"; empty: the engine's default
  std::string path;      // "library/postgres"
  std::string tag;       // may be empty
  std::string digest;    // "sha256:<64 hex>"; may be empty

  // registry/path
  [[nodiscard]] std::string repository() const;
  // What is asked of a registry: the digest where there is one, else the tag, else "latest". Never
  // empty, so that no pull can mean every tag.
  [[nodiscard]] std::string version() const;
  // repository@digest where there is a digest, else repository:tag with "latest" as default.
  [[nodiscard]] std::string text() const;
  bool operator==(const Reference&) const = default;
};

// kInvalid with the part that is wrong. A bare image id ("sha256:...") is not a reference.
Result<Reference> parse_reference(std::string_view text);

// True for "sha256:" and 64 lower-case hex digits.
bool is_digest(std::string_view text);
bool is_tag(std::string_view text);
// True for the host[:port] of a registry as an image's name can begin with it.
bool is_registry(std::string_view text);

// The repository of a reference in its full form: "nginx:1" is of "docker.io/library/nginx". Text
// that is no reference is given back as it is.
std::string full_repository(std::string_view text);

}  // namespace cairn::docker
