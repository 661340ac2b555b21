// Facts: what one pass over a tree found, so that the next pass reads only what changed. Written
// directory by directory into a temporary file, read back one directory at a time: memory is 24
// bytes a directory, whatever the number of files, and 16 KiB a thread that reads. docs/formats.md
// has the layout.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
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

// Where a directory's facts lie; keeps the file open.
struct FactsBlocks;
struct FactsPlace {
  std::shared_ptr<FactsBlocks> in;
  std::uint64_t offset = 0;
};

// What a stored directory has beneath it, itself counted.
struct Beneath {
  std::uint64_t bytes = 0;  // of regular files; a hard-linked file counts each time
  std::uint64_t files = 0;  // entries but directories
  std::uint64_t dirs = 0;
  std::uint64_t xattrs_lost = 0;

  Beneath& operator+=(const Beneath& other);
};

struct DirFacts {
  std::vector<Fact> entries;  // in byte order of name
  Id tree;          // what these entries are stored as, where every subtree stays; zero: not known
  Beneath beneath;  // of that tree
  FactsPlace at;    // where find() found them
  bool whole = false;  // all beneath is as it was stored, too

  // Null where there is none.
  [[nodiscard]] const Fact* find(std::string_view name) const;
};

// put(), put_same() and replace() are thread-safe, and so are find() and roots after seal(); the
// rest belongs to one thread. Facts that stay are not written again: files share what they have.
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
  // What another file has there holds here too. whole: and so does all beneath.
  void put_same(std::uint32_t root, const os::FileId& dir, const FactsPlace& place, bool whole);
  // Everything that the sealed file has holds here too. Only first.
  void inherit(const FactsFile& from);
  // In place of what was inherited: facts were found there, and changed since. Does nothing the
  // second time: a directory that is moved while a tree is walked is met twice.
  Status replace(std::uint32_t root, const os::FileId& dir, const DirFacts& facts);
  // Nothing is put after it.
  Status seal();
  // Nothing where the directory is not known. kCorrupt: the file changed under us.
  Result<std::optional<DirFacts>> find(std::uint32_t root, const os::FileId& dir) const;
  [[nodiscard]] std::size_t directories() const;

  // Gives the sealed file a name, in place of an older one, unless that one has just the same. Not
  // synced: load() sees damage.
  Status save(const os::Dir& dir, const std::string& name, const Id& owner);

 private:
  struct State;
  explicit FactsFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cairn::repository
