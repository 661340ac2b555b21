#include "repository/tree_walk.h"

#include <utility>

#include "base/strings.h"
#include "repository/limits.h"

namespace cairn::repository {

TreeWalk::TreeWalk(Repository& repository, Found found, Fault fault)
    : reader_(repository),
      index_(repository.index()),
      found_(std::move(found)),
      fault_(std::move(fault)) {}

Status TreeWalk::walk(const Id& tree, const std::stop_token& stop) {
  std::vector<Step> steps{{tree, 0}};
  while (!steps.empty()) {
    if (stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
    const Step step = steps.back();
    steps.pop_back();
    if (trees_.insert(step.tree).second) visit(step, steps);
  }
  return {};
}

void TreeWalk::visit(const Step& step, std::vector<Step>& steps) {
  if (step.depth > kDepthMax) {
    fault_(step.tree, "the tree is deeper than allowed");
    return;
  }
  if (const auto location = index_->find(BlobType::kTree, step.tree)) found_(*location);
  auto nodes = reader_.load_tree(step.tree);
  if (!nodes.ok()) {
    fault_(step.tree, nodes.error().message());
    return;
  }
  for (const Node& node : *nodes) {
    if (node.type == NodeType::kDir) {
      if (!trees_.contains(node.subtree)) steps.push_back({node.subtree, step.depth + 1});
    } else if (node.type == NodeType::kFile) {
      check_file(step.tree, node);
    }
  }
}

void TreeWalk::check_file(const Id& tree, const Node& node) {
  std::uint64_t size = 0;
  for (const Id& id : node.content) {
    const auto location = index_->find(BlobType::kData, id);
    if (!location) {
      fault_(tree, printable(node.name) + " needs blob " + id.hex().substr(0, 8) +
                       ", which is not in the index");
      return;
    }
    size += plain_size(location->blob);
    if (data_.insert(id).second) found_(*location);
  }
  if (size != node.size) fault_(tree, printable(node.name) + " is not as long as it should be");
}

}  // namespace cairn::repository
