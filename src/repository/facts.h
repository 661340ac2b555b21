// Facts: what one pass over a tree found, so that the next pass reads only what changed. Written
// directory by directory into a temporary file, read back one directory at a time: memory is 24
// bytes a directory, whatever the number of files. docs/formats.md has the layout.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "os/dir.h"
#include "os/file_id.h"
#include "repository/tree.h"

namespace cairn::repository {

// One entry of a directory as a pass saw it.
struct Fact {
  Node node;      // of files: content as it was read; of directories: subtree where it is known
  os::FileId id;  // its object
  std::uint64_t stat_bytes = 0;   // the size that stat told; node.size is what was read
  std::uint32_t fixed_bytes = 0;  // the length of content's chunks where all but the last have one
  // What was read holds as long as id, type, stat_bytes, mtime and ctime stay (docs/formats.md).
  bool settled = false;
  std::size_t xattrs_lost = 0;  // extended attributes that have no place in the format
  std::uint32_t spooled = 0;  // 1 + the number of the spooled copy that holds the content; 0: none
  bool operator==(const Fact&) const = default;
};

struct DirFacts {
  std::vector<Fact> entries;  // in byte order of name
  Id tree;  // what these entries are stored as, where every subtree stays; zero: not known

  // Null where there is none.
  [[nodiscard]] const Fact* find(std::string_view name) const;
};

// put() is thread-safe, and so are find() and roots after seal(); the rest belongs to one thread.
class FactsFile {
 public:
  // An unnamed file in scratch: gone with the object.
  static Result<FactsFile> create(const os::Dir& scratch);
  // Opens what save() wrote for the same owner. Nothing where there is none or it is damaged, old
  // or of another owner: facts are a saving, never a need.
  static std::optional<FactsFile> load(const os::Dir& dir,
                                       const std::string& name,
                                       const Id& owner);
  FactsFile(FactsFile&&) noexcept;
  FactsFile& operator=(FactsFile&&) noexcept;
  ~FactsFile();

  // root: the number of the volume; file systems may give two volumes' directories the same id.
  Status put(std::uint32_t root, const os::FileId& dir, const DirFacts& facts);
  // No put() after it.
  Status seal();
  // Nothing where the directory is not known. kCorrupt: the file changed under us.
  Result<std::optional<DirFacts>> find(std::uint32_t root, const os::FileId& dir) const;
  [[nodiscard]] std::size_t directories() const;

  // Gives the sealed file a name, in place of an older one. Not synced: load() sees damage.
  Status save(const os::Dir& dir, const std::string& name, const Id& owner);

 private:
  struct State;
  explicit FactsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repository
