// Snapshots as archives: out as a stream, in by a spooled body and an operation.
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "volume/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

Response open_download(Services& services,
                       const catalog::SnapshotRow& row,
                       const std::string& request_id) {
  auto archive = services.volumes.export_archive(row);
  if (!archive.ok()) return problem(archive.error(), request_id);
  Response response;
  response.content_type = "application/gzip";
  response.headers.add("Content-Disposition", "attachment; filename=\"" + row.id + ".tar.gz\"");
  response.source = [archive = std::move(archive).value()](const BodySink& sink,
                                                           const std::stop_token& stop) {
    return archive([&sink](ByteView bytes) { return sink(as_text(bytes)); }, stop);
  };
  return response;
}

Result<Response> download(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string owner, get_owner_id(services, request));
  TRY_ASSIGN(const catalog::SnapshotRow row, get_snapshot(services, request, owner));
  Response response;
  // Looking the roots up reads the repository, which may take a while.
  response.later = [&services, row, request_id = request.id](const std::stop_token&) {
    return open_download(services, row, request_id);
  };
  return response;
}

}  // namespace

Response download_snapshot(Services& services, Request& request) {
  return respond(request, download(services, request));
}

}  // namespace cairn::api
