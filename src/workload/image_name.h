// Names of images as the workload floor compares and shows them. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::workload {

// "repository:tag" or, where tag is a digest, "repository@sha256:...".
std::string join_reference(std::string_view repository, std::string_view tag);
// The digest that the engine knows for this repository ("sha256:..."); nothing where no registry
// gave the image one.
std::optional<std::string> digest_of(const std::vector<std::string>& repo_digests,
                                     std::string_view repository);
// The tag's part of a container name: what [a-zA-Z0-9_.-] lacks becomes "-", cut to 32 bytes.
std::string tag_for_name(std::string_view tag);

}  // namespace cairn::workload
