// What of a file system object goes into its node of a stored tree. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "os/dir.h"
#include "repository/tree.h"

namespace cairn::repository {

// Hard links are found by inode within one volume: the number of the device is the volume's, so
// that trees do not change when the file system is mounted elsewhere.
inline constexpr std::uint64_t kDeviceIdBase = 1;

NodeType node_type(os::FileType type);
// Type, mode, owner, times, inode, links, device number; nothing else of node is touched.
void set_metadata(Node& node, const os::Stat& stat, std::uint64_t device_id);
// XFS lists an ACL twice: these are its own copies of system.posix_acl_*, and would be attributes
// of their own elsewhere.
bool is_second_view(std::string_view xattr);
// Extended attributes but second views, sorted; those whose name is not UTF-8 are left out, since
// the format has no place for them, and counted in lost.
Result<std::vector<os::Xattr>> read_xattrs(const os::Fd& fd, std::size_t& lost);

}  // namespace cairn::repository
