#include "repository/adoption.h"

#include <algorithm>

#include "base/strings.h"
#include "os/dir.h"
#include "repository/blob_writer.h"
#include "repository/limits.h"
#include "repository/top_tree.h"
#include "repository/tree_walk.h"

namespace cairn::repository {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::uint32_t kMadeUpMode = 0755;

Error refuse(Code code, const std::string& reason, const std::string& words) {
  return {code, words, {.reasons = {{"", reason, words}}}};
}

std::string joined(const std::vector<std::string>& path, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += "/" + path[i];
  return printable(out.empty() ? "/" : out);
}

// Every tree below loads, every blob they name is in the index.
Status check_below(Repository& repository, const Id& tree, const std::stop_token& stop) {
  std::size_t faults = 0;
  std::string first;
  TreeWalk walk(
      repository, [](const BlobIndex::Location&) {},
      [&](const Id& id, const std::string& detail) {
        if (++faults == 1) first = "tree " + id.hex().substr(0, 8) + ": " + detail;
      });
  TRY(walk.walk(tree, stop));
  if (faults == 0) return {};
  return refuse(
      Code::kCorrupt, "damaged",
      "what lies below it is damaged, in " + std::to_string(faults) + " places: " + first);
}

}  // namespace

Result<std::vector<std::string>> parse_tree_path(std::string_view path) {
  if (!path.starts_with('/')) {
    return refuse(Code::kInvalid, "invalid_path",
                  "'" + printable(path) + "' is not an absolute path within the snapshot");
  }
  std::vector<std::string> out;
  for (std::string& name : split(path, '/')) {
    if (name.empty()) continue;
    if (!os::check_component(name).ok()) {
      return refuse(Code::kInvalid, "invalid_path",
                    "'" + printable(path) + "' has a part that no entry can be called");
    }
    out.push_back(std::move(name));
  }
  return out;
}

Adoption::Adoption(Repository& repository,
                   std::unique_ptr<RepositoryLock> lock,
                   SnapshotInfo source)
    : repository_(&repository),
      lock_(std::move(lock)),
      source_(std::move(source)),
      reader_(std::make_unique<BlobReader>(repository)) {}

Result<Adoption> Adoption::open(Repository& repository, std::string_view digits) {
  if (digits.size() < kAdoptDigitsMin || digits.size() > codec::Id().hex().size() ||
      digits.find_first_not_of(kHexDigits) != std::string_view::npos) {
    return Error(Code::kInvalid, "'" + printable(digits, 80) +
                                     "' is not a snapshot's id in the repository: 8 to 64 "
                                     "lower-case hex digits");
  }
  TRY_ASSIGN(std::unique_ptr<RepositoryLock> lock, repository.lock(LockMode::kShared));
  TRY(repository.refresh_index());
  TRY_ASSIGN(SnapshotInfo source, repository.find_snapshot(digits));
  return Adoption(repository, std::move(lock), std::move(source));
}

Result<Node> Adoption::find_directory(const std::vector<std::string>& path) {
  Node node;
  node.type = NodeType::kDir;
  node.mode = kMadeUpMode;
  node.mtime = node.atime = node.ctime = source_.meta.time;
  node.subtree = source_.tree;
  for (std::size_t depth = 0; depth < path.size(); ++depth) {
    auto nodes = reader_->load_tree(node.subtree);
    if (!nodes.ok() && nodes.error().code() != Code::kCorrupt) return nodes.error();
    if (!nodes.ok()) {
      return refuse(Code::kCorrupt, "damaged",
                    joined(path, depth) + " is damaged: " + nodes.error().message());
    }
    const auto found = std::ranges::find(*nodes, path[depth], &Node::name);
    const std::string words = joined(path, depth + 1);
    if (found == nodes->end()) {
      return refuse(Code::kNotFound, "no_such_path", "the snapshot has no " + words);
    }
    if (found->type == NodeType::kSymlink) {
      return refuse(Code::kInvalid, "symbolic_link",
                    words + " is a symbolic link, and no link is followed");
    }
    if (found->type != NodeType::kDir) {
      return refuse(Code::kInvalid, "not_a_directory", words + " is not a directory");
    }
    node = std::move(*found);
  }
  return node;
}

Result<AdoptedRoot> Adoption::find(int index, std::string_view path, const std::stop_token& stop) {
  TRY_ASSIGN(const std::vector<std::string> parts, parse_tree_path(path));
  AdoptedRoot root{.index = index, .node = {}, .size = {}, .made_up = parts.empty()};
  TRY_ASSIGN(root.node, find_directory(parts));
  TRY(check_below(*repository_, root.node.subtree, stop));
  TRY_ASSIGN(root.size, measure_tree(*repository_, root.node.subtree));
  // A few small trees can name each other so that they stand for more than any disk holds.
  if (root.size.bytes > kAdoptedBytesMax || root.size.entries > kAdoptedBytesMax) {
    return refuse(Code::kInvalid, "too_large", joined(parts, parts.size()) + " is larger than any");
  }
  root.node.name = std::to_string(index);
  return root;
}

Result<PendingSnapshot> Adoption::store(std::string_view manifest,
                                        const std::vector<AdoptedRoot>& roots,
                                        const std::stop_token& stop) {
  PendingSnapshot pending;
  pending.paths.emplace_back(kManifestPath);
  std::vector<Node> volumes;
  for (const AdoptedRoot& root : roots) {
    pending.paths.push_back(volume_path(root.index));
    volumes.push_back(root.node);
  }
  BlobWriter writer(*repository_, stop);
  StoreContext store(repository_->master_key());
  TRY_ASSIGN(pending.result.tree, store_top(writer, manifest, std::move(volumes), store));
  pending.repository = repository_;
  TRY_ASSIGN(pending.packs, writer.finish());
  pending.result.bytes_added = writer.bytes_added();
  pending.result.blobs_added = writer.blobs_added();
  pending.lock = std::move(lock_);
  return pending;
}

}  // namespace cairn::repository
