// TreeWalk: every blob that trees reach, each tree read once.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "repository/blob_index.h"
#include "repository/blob_reader.h"
#include "repository/pack.h"
#include "repository/repository.h"

namespace cairn::repository {

// One thread at a time. The repository must outlive it.
class TreeWalk {
 public:
  // found: a tree or data blob that is named and in the index; called once for each.
  // fault: what is wrong with the tree of that id; the walk goes on.
  using Found = std::function<void(const BlobIndex::Location&)>;
  using Fault = std::function<void(const Id& tree, const std::string& detail)>;

  TreeWalk(Repository& repository, Found found, Fault fault);

  // Everything below a tree that was not seen before. kCancelled.
  Status walk(const Id& tree, const std::stop_token& stop);

 private:
  struct Step {
    Id tree;
    std::size_t depth = 0;
  };

  void visit(const Step& step, std::vector<Step>& steps);
  void check_file(const Id& tree, const Node& node);

  BlobReader reader_;
  const std::shared_ptr<const BlobIndex> index_;
  const Found found_;
  const Fault fault_;
  std::unordered_set<Id, codec::IdHash> trees_;
  std::unordered_set<Id, codec::IdHash> data_;
};

}  // namespace cairn::repository
