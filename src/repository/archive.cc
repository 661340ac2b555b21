#include "repository/archive.h"

#include <utility>

#include "repository/capture_session.h"
#include "repository/lock.h"
#include "repository/pack.h"

namespace cairn::repository {

PendingSnapshot::PendingSnapshot() = default;
PendingSnapshot::~PendingSnapshot() {
  if (!packs.empty()) repository->take_back(packs);
}
PendingSnapshot::PendingSnapshot(PendingSnapshot&&) noexcept = default;
PendingSnapshot& PendingSnapshot::operator=(PendingSnapshot&&) noexcept = default;

std::string volume_path(int index) {
  return "/volumes/" + std::to_string(index);
}

Result<PendingSnapshot> archive(Repository& repository,
                                std::string_view manifest_json,
                                const std::vector<ArchiveRoot>& roots,
                                const os::Dir& scratch,
                                Progress& progress,
                                const std::stop_token& stop) {
  CaptureSession::Options options;
  options.scratch = &scratch;
  TRY_ASSIGN(const auto session,
             CaptureSession::begin(repository, roots, std::move(options), progress, stop));
  TRY(session->pass());
  session->freeze();
  return session->store(manifest_json);
}

}  // namespace cairn::repository
