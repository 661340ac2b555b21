// FileId: which object of a file system this is, cheaply asked and compared.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "os/dir.h"
#include "os/fd.h"

namespace cairn::os {

// A file handle (name_to_handle_at(2)) without the file system it is of: inode number and
// generation, so that an inode that was reused is another object. Handles longer than fit are
// replaced by a hash of them. A plain value; compare only within one file system.
struct FileId {
  std::array<std::byte, 32> bytes{};  // type, length, the handle, zeros
  bool operator==(const FileId&) const = default;
  auto operator<=>(const FileId&) const = default;
  // Btrfs: the same object as it appears in a snapshot of its subvolume. Others: itself.
  [[nodiscard]] FileId without_subvolume() const;
};

Result<FileId> file_id_of(const Fd& fd);
// Of the entry itself, links not followed. Nothing where the name does not exist.
Result<std::optional<FileId>> find_file_id(const Dir& dir, const std::string& name);

}  // namespace cairn::os
