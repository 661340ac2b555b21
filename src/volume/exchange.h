// exchange: two directory trees of one volume change places, in one step each, recognised by file
// handle, so that a repeated call does nothing instead of undoing itself. docs/ordering.md has the
// order of syncs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "catalog/undos.h"
#include "volume/moved_tree.h"
#include "volume/resolve.h"

namespace cairn::volume {

inline constexpr std::string_view kStagingName = ".cairn";
// Names in it that a plan's trial exchange uses for a moment; no record names them.
inline constexpr std::string_view kTrialPrefix = "trial_";

// One volume of a restore or undo: the live place, and the other tree in
// <parent>/.cairn/<staged_in>/<staged_name>. A plain value that the journal and undo rows hold.
// Where the root is a mount point, the other tree's directory lies in <root>/.cairn instead and
// stays there for good: the entries of the two change places (moved_tree.h).
struct TreePair {
  int index = 0;
  ResolvedVolume volume;
  std::string staged_in;    // an operation id: the directory under .cairn
  std::string staged_name;  // the volume's index as text
  bool root_was_missing = false;
  std::string new_handle;  // of the tree that comes in; empty until it is staged
  std::string old_handle;  // of the tree that goes out; empty until then
  bool by_entries =
      false;           // the root is a mount point: the handles are of .cairn's and of the root
  MovedTree new_tree;  // then: what comes in, known once it is staged
  MovedTree old_tree;  // then: what goes out, known before the first entry moves
  // The root that is live once the new tree is, and the one that lies staged then.
  [[nodiscard]] const std::string& live_after() const {
    return by_entries ? old_handle : new_handle;
  }
  [[nodiscard]] const std::string& staged_after() const {
    return by_entries ? new_handle : old_handle;
  }
  // Of the roots, since XFS changes a directory's mtime when it is exchanged; put back afterwards.
  std::optional<Timespec> new_mtime;
  std::optional<Timespec> old_mtime;
};

nlohmann::json to_json(const std::vector<TreePair>& pairs);
Result<std::vector<TreePair>> parse_tree_pairs(const nlohmann::json& json);
// The trees that an undo would exchange; kCorrupt where its row is damaged.
Result<std::vector<TreePair>> pairs_of(const catalog::UndoRow& undo);

// Directories of one pair, held open.
struct OpenPair {
  os::Dir parent;  // of the live root
  std::string name;
  os::Dir home;     // where .cairn lies: the parent, or a root that is a mount point
  os::Dir staging;  // .cairn/<staged_in>
};
// kNotFound where nothing is staged. kUnavailable where the root was a mount point and nothing is
// mounted there now; kConflict where it has become one.
Result<OpenPair> open_pair(const TreePair& pair);

// Where .cairn of a volume lies: beside its root, or in a root that is a mount point.
struct StagingHome {
  os::Dir dir;
  bool is_root = false;
};
Result<StagingHome> staging_home(const RootPlace& place);

// Makes .cairn/<operation> in home, both 0700 and root's; home must not be writable for everyone.
// Durable after the caller's sync of the file system.
Result<os::Dir> make_staging(const os::Dir& home, const std::string& operation);

// Gives a directory that mtime, unless it has it. One that is gone is fine, and so is no mtime.
Status put_mtime(const os::Dir& dir, const std::string& name, const std::optional<Timespec>& mtime);

enum class Live { kOld, kNew };
// Which of the two trees is live. kCorrupt where neither is: somebody moved them. Not of a pair by
// entries, whose root is always the same.
Result<Live> live_tree(const TreePair& pair);
// Whether what an undo brings back lies where it was put. kCorrupt where it does not.
Status check_replaced(const TreePair& undone);

// After it the wanted tree is live, durably, with the recorded mtimes: both parents are synced.
// Doing it again is fine. kCorrupt where the trees are not those of the pair. On another failure
// either is live.
Status make_live(const TreePair& pair, Live wanted);

// Fills in old_mtime or old_tree: call when nobody writes the live tree any more, before the first
// exchange.
Status record_live(TreePair& pair);

// Removes what lies staged, if its handle is the given one, and the staging directories that are
// empty then. A tree that is gone is fine; another tree is left alone.
Status remove_staged(const TreePair& pair, const std::string& handle);

}  // namespace cairn::volume
