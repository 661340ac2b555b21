// The rows of snapshots while they are stored, the same for captures and adoptions: row `cut` ->
// packs, index, snapshot file -> row `stored` (docs/ordering.md).
#pragma once

#include <string>

#include "repository/archive.h"
#include "repository/snapshot.h"
#include "volume/core.h"

namespace cairn::volume {

// The manifest of docs/formats.md: of the row's volumes and of its workload, whose env is sealed.
Result<std::string> make_manifest(Core& core, const catalog::SnapshotRow& row);

// What the repository is told of the row's snapshot: its tags lead back to the row.
repository::SnapshotMeta meta_of(const catalog::SnapshotRow& row);

// Writes the row in state cut: the snapshot's id exists from here on. It names its volumes already,
// since a crash may leave it to recovery, which knows nothing else of them.
Status insert_cut_row(Core& core, catalog::SnapshotRow& row);

// Packs, index, snapshot durable -> the row says stored. pending may be the failure of what was to
// be stored. On a failure there is no row, and what was stored is taken back.
Status commit_row(Core& core,
                  Result<repository::PendingSnapshot> pending,
                  const repository::SnapshotMeta& meta,
                  catalog::SnapshotRow& row);

}  // namespace cairn::volume
