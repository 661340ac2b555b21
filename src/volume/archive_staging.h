// Staging: one volume of an archive, written into an empty directory that nobody else can enter. By
// parent descriptor and single component only: no path is ever walked, no link ever followed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "codec/tar.h"
#include "os/dir.h"

namespace cairn::volume {

// What of an entry is kept beside its content, mode and time.
struct StagingKeeps {
  bool owners = false;
  bool xattrs = false;
};

// One thread at a time. After a failure what is there is to be removed by the caller.
class Staging {
 public:
  // root: an empty directory of the caller's.
  Staging(os::Dir root, StagingKeeps keeps);

  // path: the entry's components beneath the root. kInvalid where a name is taken, something is in
  // the way, or a hard link leads to nothing that came before.
  Status add_directory(const std::vector<std::string>& path, const codec::TarEntry& entry);
  Status add_file(const std::vector<std::string>& path, const codec::TarEntry& entry);
  Status add_hard_link(const std::vector<std::string>& path,
                       const std::vector<std::string>& target);
  // Made by finish(), so that nothing is ever written where one could lead.
  Status add_symlink(const std::vector<std::string>& path, const codec::TarEntry& entry);
  // A name that is left out: hard links to it are too.
  Status skip(const std::vector<std::string>& path);

  // Of the file that was added last.
  Status write(std::uint64_t offset, ByteView bytes);
  // Symbolic links, then what directories are like, deepest first. Call once, last.
  Status finish();

  // Entries made, those that only lie on the way to others too.
  [[nodiscard]] std::uint64_t made() const { return made_; }
  [[nodiscard]] const os::Dir& root() const { return root_; }

 private:
  using NodeId = std::size_t;
  using Name = std::pair<NodeId, std::string>;
  static constexpr NodeId kRoot = 0;

  // A directory; what it is like, once its own entry came.
  struct Node {
    NodeId parent = kRoot;
    std::string name;
    std::optional<codec::TarEntry> entry;
  };
  struct Step {
    NodeId node = kRoot;
    os::Dir dir;
  };
  struct Symlink {
    Name name;
    codec::TarEntry entry;
    std::optional<std::size_t> same_as;  // a further name of that one
  };

  enum class Missing { kMake, kRefuse };
  Result<NodeId> enter(const std::vector<std::string>& path, std::size_t count, Missing missing);
  Status step_into(const std::string& name, Missing missing);
  Status enter_node(NodeId node);
  [[nodiscard]] const os::Dir& here() const { return steps_.empty() ? root_ : steps_.back().dir; }
  Result<NodeId> make_node(NodeId parent, const std::string& name);
  Status close_file();
  Status put_metadata(const os::Fd& fd, const codec::TarEntry& entry) const;
  Status finish_symlinks();
  Status finish_directories();

  os::Dir root_;
  StagingKeeps keeps_;
  std::vector<Node> nodes_ = std::vector<Node>(1);  // children after their parents
  std::map<Name, NodeId> children_;
  std::vector<Step> steps_;  // the open directories on the way to where the last entry was
  std::vector<Symlink> symlinks_;
  std::map<Name, std::size_t> symlink_at_;
  std::set<Name> skipped_;
  std::uint64_t made_ = 0;

  std::optional<os::Fd> file_;  // being written
  codec::TarEntry file_entry_;
};

}  // namespace cairn::volume
