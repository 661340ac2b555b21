// scan_list: one directory of a walk, listed and held against what is known.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/file.h"
#include "repository/facts.h"
#include "repository/scan.h"

namespace cairn::repository {

// A directory as it was listed, and what of it concerns the root or the directory above.
struct Listing {
  std::shared_ptr<ScanDir> dir;  // its entries that are not unchanged have st_dev as device_id;
                                 // null: it is gone
  Fact itself;                   // of dir, where its entry was not unchanged; st_dev as device_id
  std::uint64_t sockets = 0;
  std::vector<std::string> mounts;                             // names
  std::vector<std::pair<std::uint64_t, std::uint64_t>> links;  // inode and number of names, above 1
};

// Thread-safe: it changes nothing but what it returns.
class Lister {
 public:
  // root and known must outlive it; known may be null. See walk_tree() for the rest.
  Lister(const ScanRoot& root, const FactsFile* known, KnownFrom from, Timespec since)
      : root_(root.index),
        mount_id_(root.mount_id),
        passes_over_(root.passes_over),
        known_(known),
        from_(from),
        since_(since) {}

  [[nodiscard]] Result<Listing> list_root(os::Dir dir, const os::FileId& id) const;
  // Opens what entry of above names, and lists it.
  [[nodiscard]] Result<Listing> list_child(const std::shared_ptr<ScanDir>& above,
                                           const ScannedEntry& entry) const;

 private:
  [[nodiscard]] Status fill(Listing& out, KnownFrom from) const;
  [[nodiscard]] Status look_at(const std::string& name,
                               Fact* before,
                               KnownFrom from,
                               Listing& out) const;
  [[nodiscard]] Status describe(const os::Fd& fd, Fact& fact) const;
  [[nodiscard]] Result<bool> read_special(const os::Dir& dir, Fact& fact) const;

  const int root_;
  const std::uint64_t mount_id_;
  bool (*const passes_over_)(std::string_view name);
  const FactsFile* const known_;
  const KnownFrom from_;
  const Timespec since_;
};

}  // namespace cairn::repository
