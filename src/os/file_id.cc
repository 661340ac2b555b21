#include "os/file_id.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/strings.h"

namespace cairn::os {

namespace {

constexpr int kTypeBtrfs = 0x4d;  // FILEID_BTRFS_WITHOUT_PARENT (include/linux/exportfs.h)
constexpr std::size_t kBtrfsRootAt = 2 + 8;  // after type, length and the 64-bit object id
constexpr std::size_t kBtrfsRootBytes = 8;
constexpr int kTypeFolded = 0xff;  // FILEID_INVALID: no file system uses it

// FNV-1a, 64 bits (datatracker.ietf.org/doc/html/draft-eastlake-fnv): folds what does not fit.
std::uint64_t fold(const std::byte* at, std::size_t size, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (std::size_t i = 0; i < size; ++i) {
    hash = (hash ^ std::to_integer<std::uint64_t>(at[i])) * 0x100000001b3ULL;
  }
  return hash;
}

Result<FileId> ask(int dir, const char* name, int flags) {
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> storage{};
  auto* handle = reinterpret_cast<file_handle*>(storage.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(dir, name, handle, &mount_id, flags) != 0) {
    return os_error("name_to_handle_at " + printable(name), errno);
  }
  FileId out;
  const auto* bytes = reinterpret_cast<const std::byte*>(storage.data()) + sizeof(file_handle);
  const std::size_t size = handle->handle_bytes;
  out.bytes[0] = static_cast<std::byte>(handle->handle_type);
  out.bytes[1] = static_cast<std::byte>(size);
  if (size + 2 <= out.bytes.size()) {
    std::memcpy(out.bytes.data() + 2, bytes, size);
    return out;
  }
  out.bytes[0] = static_cast<std::byte>(kTypeFolded);
  for (std::uint64_t i = 0; i < 3; ++i) {
    store_le64(out.bytes.data() + 2 + 8 * i, fold(bytes, size, i * 0x9e3779b97f4a7c15ULL));
  }
  return out;
}

}  // namespace

FileId FileId::without_subvolume() const {
  FileId out = *this;
  if (out.bytes[0] != static_cast<std::byte>(kTypeBtrfs)) return out;
  std::fill_n(out.bytes.begin() + kBtrfsRootAt, kBtrfsRootBytes, std::byte{0});
  return out;
}

Result<FileId> file_id_of(const Fd& fd) {
  return ask(fd.get(), "", AT_EMPTY_PATH);
}

Result<std::optional<FileId>> find_file_id(const Dir& dir, const std::string& name) {
  TRY(check_component(name));
  auto id = ask(dir.fd().get(), name.c_str(), 0);
  if (id.ok()) return std::optional<FileId>(*id);
  if (id.error().os_errno() == ENOENT) return std::optional<FileId>();
  return id.error();
}

}  // namespace cairn::os
