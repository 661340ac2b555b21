#include "repository/tree_path.h"

#include <algorithm>

#include "base/strings.h"
#include "repository/limits.h"

namespace cairn::repository {

Result<Node> find_node(BlobReader& reader, const Id& tree, const std::string& path) {
  if (path.empty() || path[0] != '/') {
    return Error(Code::kInvalid, "a path in a snapshot begins with a slash");
  }
  Node node;
  node.type = NodeType::kDir;
  node.mode = 0755;
  node.subtree = tree;
  std::size_t depth = 0;
  for (const std::string& name : split(path, '/')) {
    if (name.empty()) continue;
    const Error missing(Code::kNotFound, "the snapshot has no " + printable(path));
    if (node.type != NodeType::kDir || ++depth > kDepthMax) return missing;
    TRY_ASSIGN(std::vector<Node> nodes, reader.load_tree(node.subtree));
    const auto found = std::find_if(nodes.begin(), nodes.end(),
                                    [&name](const Node& entry) { return entry.name == name; });
    if (found == nodes.end()) return missing;
    node = std::move(*found);
  }
  return node;
}

}  // namespace cairn::repository
