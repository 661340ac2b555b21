// Finding entries of a snapshot by path. The repository must outlive the calls.
#pragma once

#include <string>

#include "base/result.h"
#include "repository/blob_reader.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

namespace cairn::repository {

// The entry at an absolute path ("/" is a directory node of its own making, mode 0755). kNotFound.
Result<Node> find_node(BlobReader& reader, const Id& tree, const std::string& path);

}  // namespace cairn::repository
