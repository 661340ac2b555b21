#include "volume/known_facts.h"

#include "base/log.h"
#include "codec/hash.h"

namespace cairn::volume {

namespace {

constexpr std::string_view kFactsDir = "facts";
constexpr std::string_view kLayout = "facts 2";  // another layout is another owner

// Facts name blobs of one repository, and volumes by their number.
repository::Id owner_of(const Core& core, const std::vector<CaptureRoot>& roots) {
  std::string text = std::string(kLayout) + "\n" + core.repository.id();
  for (const CaptureRoot& root : roots) {
    text += "\n" + std::to_string(root.index) + " " + root.volume.target;
  }
  return codec::sha256(as_bytes(text));
}

}  // namespace

Result<os::Dir> open_facts_dir(const Core& core) {
  TRY_ASSIGN(const os::Dir data, os::Dir::open(core.data_dir));
  return data.ensure_dir(std::string(kFactsDir), 0700);
}

std::optional<repository::FactsFile> load_facts(const Core& core,
                                                const os::Dir& dir,
                                                const std::string& workload_id,
                                                const std::vector<CaptureRoot>& roots) {
  return repository::FactsFile::load(dir, workload_id, owner_of(core, roots));
}

void save_facts(const Core& core,
                const os::Dir& dir,
                const std::string& workload_id,
                const std::vector<CaptureRoot>& roots,
                repository::FactsFile facts) {
  const Status saved = facts.save(dir, workload_id, owner_of(core, roots));
  if (!saved.ok()) log::warn("facts of {}: {}", workload_id, saved.error().message());
}

void remove_stale_facts(Core& core) {
  const auto dir = open_facts_dir(core);
  if (!dir.ok()) return;
  const auto entries = dir->list();
  if (!entries.ok()) return;
  for (const os::Entry& entry : *entries) {
    const auto workload = core.catalog.workloads().find(entry.name);
    if (!workload.ok() || workload->has_value()) continue;
    const Status removed = dir->remove_file(entry.name);
    if (!removed.ok()) log::warn("facts of {}: {}", entry.name, removed.error().message());
  }
}

}  // namespace cairn::volume
