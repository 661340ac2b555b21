#include "repository/top_tree.h"

#include <algorithm>

#include "base/clock.h"
#include "codec/chunker.h"
#include "repository/archive.h"

namespace cairn::repository {

Result<Id> store_top(BlobWriter& writer,
                     std::string_view manifest,
                     std::vector<Node> volumes,
                     StoreContext& store) {
  Node manifest_node;
  manifest_node.name = kManifestPath.substr(1);
  manifest_node.mode = 0400;
  manifest_node.links = 1;
  manifest_node.size = manifest.size();
  manifest_node.mtime = manifest_node.atime = manifest_node.ctime = wall_now();
  for (ByteView rest = as_bytes(manifest); !rest.empty();) {
    const std::size_t cut = codec::first_cut(rest);
    TRY_ASSIGN(const Id id, writer.store(BlobType::kData, rest.first(cut), store));
    manifest_node.content.push_back(id);
    rest = rest.subspan(cut);
  }
  std::sort(volumes.begin(), volumes.end(),
            [](const Node& a, const Node& b) { return a.name < b.name; });
  Node volumes_node = manifest_node;
  volumes_node.name = "volumes";
  volumes_node.type = NodeType::kDir;
  volumes_node.mode = 0700;
  volumes_node.links = 0;
  volumes_node.size = 0;
  volumes_node.content.clear();
  TRY_ASSIGN(volumes_node.subtree,
             writer.store(BlobType::kTree, as_bytes(encode_tree(volumes)), store));
  const std::vector<Node> top = {manifest_node, volumes_node};
  return writer.store(BlobType::kTree, as_bytes(encode_tree(top)), store);
}

}  // namespace cairn::repository
