// archive_import: an archive becomes a snapshot of a workload. It is read by a child in a cage,
// written into DATA/import/<operation>, stored from there as captures are, and removed there. The
// workload and its volumes are not touched.
#pragma once

#include "os/fd.h"
#include "volume/core.h"

namespace cairn::volume {

// The row that is returned is stored. kRefused with a reason for each kind of entry that is not
// allowed, and for each volume that the workload does not declare; kInvalid where the archive is
// not what it must be; kNoSpace, kCancelled. A failure leaves no row, and no staging but where its
// removal failed, which the next start repeats.
Result<catalog::SnapshotRow> run_import(Core& core,
                                        const catalog::Workload& workload,
                                        const os::Fd& archive,
                                        const ImportOptions& options,
                                        catalog::OperationContext& context);

inline constexpr std::string_view kImportDir = "import";  // beneath DATA

// After a crash: removes what imports left in DATA/import. No import may run.
Status remove_imports(const Core& core);
// What lies there and belongs to no running operation, by name.
Result<std::vector<std::string>> list_stray_imports(Core& core);

}  // namespace cairn::volume
