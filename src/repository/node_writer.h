// Writes what a stored entry says about a file system object, through held descriptors only.
// Thread-safe: no state.
#pragma once

#include "base/result.h"
#include "os/dir.h"
#include "repository/tree.h"

namespace cairn::repository {

// Owner, extended attributes, mode, times, in this order: changing the owner clears setuid and
// capabilities, and writing changes times. fd may be O_PATH.
Status write_metadata(const os::Fd& fd, const Node& node);
// Makes a symbolic link, fifo or device and writes its metadata.
Status make_special(const os::Dir& dir, const Node& node);
// Writes content at offset of an empty file, leaving out zero runs, which become holes.
Status write_with_holes(const os::Fd& fd, ByteView content, std::uint64_t offset);
// Takes away what a directory inherited from its parent: ACLs and the group. Its entries would
// inherit them in turn.
Status clear_inherited(const os::Dir& dir);

}  // namespace cairn::repository
