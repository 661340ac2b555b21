// archive_export: a stored snapshot as a tar archive compressed by gzip: manifest.json first, then
// volumes/<index>/... in tree order. docs/formats.md says what is in it.
#pragma once

#include "volume/core.h"

namespace cairn::volume {

// Opens the snapshot and looks its roots up; reads nothing of the files yet: the source does, and
// verifies every blob before a byte of it leaves. kConflict where the snapshot is not stored,
// kNotFound, kCorrupt. The source holds a shared lock on the repository while it lives.
Result<ArchiveSource> open_export(Core& core, const catalog::SnapshotRow& snapshot);

}  // namespace cairn::volume
