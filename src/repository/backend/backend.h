// Backend: where a repository's files lie. Names are 64 hex digits but for the config; a file is
// written once and never changed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::repository {

enum class FileKind { kConfig, kKey, kPack, kIndex, kSnapshot, kLock };

// The word used in messages: "pack", "index", ...
std::string_view kind_name(FileKind kind);

struct StoredFile {
  std::string name;
  std::uint64_t size_bytes = 0;
};

// Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;

  // Where it is, as restic's -r takes it.
  [[nodiscard]] virtual std::string location() const = 0;

  // Whether every list() that begins after a save() has its file, in any process on any machine.
  [[nodiscard]] virtual bool lists_at_once() const = 0;

  // All files of a kind whose names are ids; others (temporary files) are left out.
  virtual Result<std::vector<StoredFile>> list(FileKind kind) = 0;
  // A whole file. kNotFound; kCorrupt past max_bytes.
  virtual Result<Bytes> load(FileKind kind, const std::string& name, std::size_t max_bytes) = 0;
  // The size of a stored file in bytes; kNotFound.
  virtual Result<std::uint64_t> size_of(FileKind kind, const std::string& name) = 0;
  // Fills out from offset; kCorrupt where the file ends before.
  virtual Status load_range(FileKind kind,
                            const std::string& name,
                            std::uint64_t offset,
                            std::span<std::byte> out) = 0;

  // Stores a new file, whole and durable when it returns. kExists where the name is taken.
  virtual Status save(FileKind kind, const std::string& name, ByteView content) = 0;
  // Begins to store a new pack; it is whole, durable and visible after the next flush(), and either
  // not at all or whole before.
  virtual Status save_later(FileKind kind, const std::string& name, ByteView content) = 0;
  // Makes everything durable that save_later() took before this call, from any thread. A pack whose
  // writing failed has no name: who needs it asks size_of() after the flush.
  virtual Status flush() = 0;

  // Takes back a pack that save_later() took, and that no index file names: gone, whether it had
  // its name already or not. Fine where there is none.
  virtual Status take_back(const std::string& pack) = 0;

  // kNotFound where it does not exist.
  virtual Status remove(FileKind kind, const std::string& name) = 0;
};

}  // namespace cairn::repository
