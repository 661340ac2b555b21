// moved_tree: how two trees change places where one of them is the root of a file system, which no
// call can exchange: their entries are moved one by one. Which entry belongs where is told by file
// handles, so that a repeated call goes on where an earlier one ended.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/dir.h"

namespace cairn::volume {

// A mount point with more entries in its root cannot be restored: the journal has no room for them.
inline constexpr std::size_t kMovedEntriesMax = 1000;
// Bytes of one tree in a record, as JSON: names of 255 bytes that need escapes take more than
// others.
inline constexpr std::size_t kMovedTreeBytesMax = std::size_t{640} << 10U;
// What a journal keeps free for such a volume: two records hold the new tree, one the old one.
inline constexpr std::size_t kMovedRecordBytes = 3 * kMovedTreeBytesMax;

struct MovedEntry {
  std::string name;
  std::string handle;
  std::optional<Timespec> mtime;  // of directories: XFS changes it when they move
};

// The entries of a root and what the root itself is like. A plain value for the journal.
struct MovedTree {
  std::vector<MovedEntry> entries;  // in byte order of name
  std::string root;  // a tree of one entry, as docs/formats.md has it; empty: unknown
  [[nodiscard]] bool known() const { return !root.empty(); }
};

nlohmann::json to_json(const MovedTree& tree);
// kCorrupt where it is none.
Result<MovedTree> parse_moved_tree(const nlohmann::json& json);

// Entries in the root of a mounted file system that are neither captured nor moved: Cairn's own
// directory, and the one that e2fsck(8) keeps.
bool stays_at_mount(std::string_view name);

// What lies in dir now. kInvalid where that is more than kMovedEntriesMax or kMovedTreeBytesMax.
Result<MovedTree> list_moved(const os::Dir& dir);

// kCorrupt unless every entry of tree lies in dir.
Status check_entries(const os::Dir& dir, const MovedTree& tree);

// After it, root holds the entries of wanted and is itself like wanted, and aside holds everything
// else that lay in root and is like other; durable. Doing it again is fine, also when root was
// written to in between. kCorrupt where an entry of wanted is in neither; kExists where aside has
// the name of what has to go there. On a failure some entries have moved.
Status move_into(const os::Dir& root,
                 const os::Dir& aside,
                 const MovedTree& wanted,
                 const MovedTree& other);

}  // namespace cairn::volume
