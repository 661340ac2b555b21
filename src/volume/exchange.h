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
#include "volume/resolve.h"

namespace cairn::volume {

inline constexpr std::string_view kStagingName = ".cairn";
// Names in it that a plan's trial exchange uses for a moment; no record names them.
inline constexpr std::string_view kTrialPrefix = "trial_";

// One volume of a restore or undo: the live place, and the other tree in
// <parent>/.cairn/<staged_in>/<staged_name>. A plain value that the journal and undo rows hold.
struct TreePair {
  int index = 0;
  ResolvedVolume volume;
  std::string staged_in;    // an operation id: the directory under .cairn
  std::string staged_name;  // the volume's index as text
  bool root_was_missing = false;
  std::string new_handle;  // of the tree that comes in; empty until it is staged
  std::string old_handle;  // of the tree that goes out; empty until then
  // Of the roots, since XFS changes a directory's mtime when it is exchanged; put back afterwards.
  std::optional<Timespec> new_mtime;
  std::optional<Timespec> old_mtime;
};

nlohmann::json to_json(const std::vector<TreePair>& pairs);
Result<std::vector<TreePair>> parse_tree_pairs(const nlohmann::json& json);

// Directories of one pair, held open.
struct OpenPair {
  os::Dir parent;  // of the live root
  std::string name;
  os::Dir staging;  // .cairn/<staged_in>
};
Result<OpenPair> open_pair(const TreePair& pair);

// Makes <parent>/.cairn/<operation>, both 0700 and root's; its parent must be on the root's mount
// and not writable for everyone. Durable after the caller's sync of the file system.
Result<os::Dir> make_staging(const RootPlace& place, const std::string& operation);

enum class Live { kOld, kNew };
// Which of the two trees is live. kCorrupt where neither is: somebody moved them.
Result<Live> live_tree(const TreePair& pair);

// After it the wanted tree is live, durably, with the recorded mtimes: both parents are synced.
// Doing it again is fine. kCorrupt where the trees are not those of the pair. On another failure
// either is live.
Status make_live(const TreePair& pair, Live wanted);

// Fills in old_mtime: call when nobody writes the live tree any more, before the first exchange.
Status record_live_mtime(TreePair& pair);

// Removes what lies staged, if its handle is the given one, and the staging directories that are
// empty then. A tree that is gone is fine; another tree is left alone.
Status remove_staged(const TreePair& pair, const std::string& handle);

}  // namespace cairn::volume
