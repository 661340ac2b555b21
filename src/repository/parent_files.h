// ParentFiles: what an earlier snapshot of the same volumes says about files that did not change
// since, so that they are neither read nor opened again.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "repository/archiver.h"
#include "repository/blob_reader.h"
#include "repository/repository.h"
#include "repository/snapshot.h"
#include "repository/tree.h"

namespace cairn::repository {

// Thread-safe. Keeps kParentDirsMax directories in memory. The repository must outlive it.
class ParentFiles final : public KnownFiles {
 public:
  // Where the root of that index lies in the parent, as an absolute path of its tree.
  struct Root {
    int index = 0;
    std::string path;
  };

  // trusted_before: a file that was changed later is not taken over, whatever else is the same. It
  // must be two ticks of the file systems' clocks before a syncfs(2) of them that began before the
  // parent was read: what is written within one tick, or through a mapping to a page that is dirty
  // already, changes no time. Roots that the parent does not have know nothing. kNotFound: no such
  // snapshot. kCorrupt.
  static Result<std::unique_ptr<ParentFiles>> open(Repository& repository,
                                                   const Id& snapshot,
                                                   const std::vector<Root>& roots,
                                                   Timespec trusted_before);

  std::optional<std::vector<Id>> find(const FilePlace& place, const os::Stat& stat) override;
  std::optional<Node> find_entry(const FilePlace& place, const os::Stat& stat) override;
  void remember(const FilePlace&, const os::Stat&, const std::vector<Id>&) override {}

 private:
  using Nodes = std::shared_ptr<const std::vector<Node>>;
  struct Kept {
    Nodes nodes;  // null: the parent has no such directory
    std::list<std::string>::iterator age;
  };

  ParentFiles(Repository& repository, Timespec trusted_before)
      : trusted_before_(trusted_before), reader_(repository) {}
  Nodes directory(const std::string& key);
  Nodes load(const Nodes& above, std::string_view name);
  const Kept* kept(const std::string& key);
  void keep(const std::string& key, Nodes nodes);

  const Timespec trusted_before_;
  std::unordered_map<int, Nodes> roots_;

  // Held while a directory is loaded: the reader belongs to one thread at a time.
  std::mutex mutex_;
  BlobReader reader_;
  std::unordered_map<std::string, Kept> dirs_;  // by root index, "/" and path
  std::list<std::string> ages_;                 // keys, used last first
};

}  // namespace cairn::repository
