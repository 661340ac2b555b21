// The image of a deploy: found locally or pulled, as the pull policy says, and pinned by id.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "catalog/registries.h"
#include "docker/types.h"
#include "workload/config.h"
#include "workload/core.h"

namespace cairn::workload {

struct FetchedImage {
  docker::Image image;
  std::string tag;     // what was asked for: a tag or "sha256:..."
  std::string digest;  // of the repository; empty where no registry knows the image
};

// What a deploy asks for: the requested tag or digest, else default_tag, else "latest". kInvalid
// for what is neither.
Result<std::string> tag_of(const ImageConfig& config, const std::string& requested);

// requested: a tag or digest; empty: the config's default_tag, then "latest". kInvalid for what is
// neither. registry: who logs in for a pull. kRefused with a Reason "image_missing",
// "login_refused" or "pull_failed"; kUnavailable; kCancelled. No message repeats a password.
Result<FetchedImage> fetch_image(const Core& core,
                                 const ImageConfig& config,
                                 const std::optional<catalog::Registry>& registry,
                                 const std::string& requested,
                                 Progress& progress,
                                 std::stop_token stop);

}  // namespace cairn::workload
