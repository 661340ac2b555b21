// Writes what a stored entry says about a file system object, through held descriptors only.
// Thread-safe: no state.
#pragma once

#include <optional>

#include "base/result.h"
#include "os/dir.h"
#include "repository/tree.h"

namespace cairn::repository {

// Owner, extended attributes, mode, times, in this order: changing the owner clears setuid and
// capabilities, and writing changes times. fd may be O_PATH.
Status write_metadata(const os::Fd& fd, const Node& node);
// Makes a symbolic link, fifo or device and writes its metadata.
Status make_special(const os::Dir& dir, const Node& node);
// Writes content at offset of an empty file, leaving out zero runs, which become holes. Where the
// last write ended: what is left out at the end is for the caller to truncate to.
Result<std::uint64_t> write_with_holes(const os::Fd& fd, ByteView content, std::uint64_t offset);
// The label of SELinux that an object has.
Result<std::optional<os::Xattr>> label_of(const os::Dir& dir);
// Gives the entry that label, or none, in place of its own.
void set_label(Node& node, const std::optional<os::Xattr>& label);
// Takes away what a directory inherited from its parent: ACLs and the group. Its entries would
// inherit them in turn.
Status clear_inherited(const os::Dir& dir);

}  // namespace cairn::repository
