#include "repository/parent_files.h"

#include <algorithm>
#include <utility>

#include "repository/limits.h"
#include "repository/tree_path.h"

namespace cairn::repository {

namespace {

const Node* find_in(const std::vector<Node>& nodes, std::string_view name) {
  const auto at =
      std::lower_bound(nodes.begin(), nodes.end(), name,
                       [](const Node& node, std::string_view want) { return node.name < want; });
  return at != nodes.end() && at->name == name ? &*at : nullptr;
}

}  // namespace

Result<std::unique_ptr<ParentFiles>> ParentFiles::open(Repository& repository,
                                                       const Id& snapshot,
                                                       const std::vector<Root>& roots,
                                                       Timespec trusted_before) {
  TRY(repository.refresh_index());
  TRY_ASSIGN(const SnapshotInfo info, repository.snapshot(snapshot));
  auto files = std::unique_ptr<ParentFiles>(new ParentFiles(repository, trusted_before));
  for (const Root& root : roots) {
    auto node = find_node(files->reader_, info.tree, root.path);
    if (!node.ok() && node.error().code() == Code::kNotFound) continue;
    if (!node.ok()) return node.error();
    if (node->type != NodeType::kDir) continue;
    TRY_ASSIGN(std::vector<Node> nodes, files->reader_.load_tree(node->subtree));
    files->roots_[root.index] = std::make_shared<const std::vector<Node>>(std::move(nodes));
  }
  return files;
}

std::optional<Node> ParentFiles::find_entry(const FilePlace& place, const os::Stat& stat) {
  if (stat.type != os::FileType::kRegular || !(stat.ctime < trusted_before_)) return std::nullopt;
  const auto root = roots_.find(place.root_index);
  if (root == roots_.end()) return std::nullopt;
  Nodes nodes = root->second;
  if (place.path.size() > place.name.size()) {
    const std::string_view below = place.path.substr(0, place.path.size() - place.name.size() - 1);
    std::string key = std::to_string(place.root_index) + "/";
    key += below;
    const std::scoped_lock lock(mutex_);
    nodes = directory(key);
  }
  if (!nodes) return std::nullopt;
  const Node* node = find_in(*nodes, place.name);
  const bool same = node != nullptr && node->type == NodeType::kFile &&
                    node->size == stat.size_bytes && node->mtime == stat.mtime &&
                    node->ctime == stat.ctime && node->inode == stat.inode;
  return same ? std::optional(*node) : std::nullopt;
}

std::optional<std::vector<Id>> ParentFiles::find(const FilePlace& place, const os::Stat& stat) {
  std::optional<Node> node = find_entry(place, stat);
  if (!node) return std::nullopt;
  return std::move(node->content);
}

const ParentFiles::Kept* ParentFiles::kept(const std::string& key) {
  const auto found = dirs_.find(key);
  if (found == dirs_.end()) return nullptr;
  ages_.splice(ages_.begin(), ages_, found->second.age);
  return &found->second;
}

void ParentFiles::keep(const std::string& key, Nodes nodes) {
  ages_.push_front(key);
  dirs_[key] = {.nodes = std::move(nodes), .age = ages_.begin()};
  if (dirs_.size() <= kParentDirsMax) return;
  dirs_.erase(ages_.back());
  ages_.pop_back();
}

// A directory that the parent lacks, or that is damaged there, knows nothing: its files are read.
ParentFiles::Nodes ParentFiles::load(const Nodes& above, std::string_view name) {
  const Node* node = above ? find_in(*above, name) : nullptr;
  if (node == nullptr || node->type != NodeType::kDir) return nullptr;
  auto nodes = reader_.load_tree(node->subtree);
  if (!nodes.ok()) return nullptr;
  return std::make_shared<const std::vector<Node>>(std::move(*nodes));
}

// Called with mutex_ held. From the nearest directory above that is kept, down to this one.
ParentFiles::Nodes ParentFiles::directory(const std::string& key) {
  if (const Kept* own = kept(key)) return own->nodes;
  const std::size_t root_end = key.find('/');
  Nodes nodes;
  std::size_t at = key.size();
  while (true) {
    at = key.rfind('/', at - 1);
    if (at == root_end) {
      nodes = roots_.at(std::stoi(key));
      break;
    }
    if (const Kept* above = kept(key.substr(0, at))) {
      nodes = above->nodes;
      break;
    }
  }
  while (at < key.size()) {
    const std::size_t end = std::min(key.find('/', at + 1), key.size());
    nodes = load(nodes, std::string_view(key).substr(at + 1, end - at - 1));
    keep(key.substr(0, end), nodes);
    at = end;
  }
  return nodes;
}

}  // namespace cairn::repository
