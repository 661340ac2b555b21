// The two directories that every snapshot of Cairn begins with: /manifest.json and /volumes.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "repository/blob_writer.h"
#include "repository/tree.h"

namespace cairn::repository {

// Stores the manifest and a tree over the volumes' root nodes, whose names are their indexes; the
// id of the snapshot's tree.
Result<Id> store_top(BlobWriter& writer,
                     std::string_view manifest,
                     std::vector<Node> volumes,
                     StoreContext& store);

}  // namespace cairn::repository
