// Snapshots as archives: out as a stream, in by a spooled body and an operation.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "base/strings.h"
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

// "links,owners" into the flags of those words; kInvalid for any other.
Status parse_words(const Request& request,
                   const std::string& name,
                   const std::map<std::string, bool*>& words) {
  const auto found = request.query.find(name);
  if (found == request.query.end() || found->second.empty()) return {};
  for (const std::string& word : split(found->second, ',')) {
    const auto known = words.find(word);
    if (known == words.end()) {
      std::string list;
      for (const auto& [key, flag] : words) list += (list.empty() ? "" : ", ") + key;
      return Error(Code::kInvalid, fmt::format("query parameter {} takes {}", name, list));
    }
    *known->second = true;
  }
  return {};
}

Result<Response> import_archive(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload_with_volumes(services, request));
  volume::ImportOptions options;
  TRY(parse_words(request, "allow",
                  {{"links", &options.allow_links},
                   {"owners", &options.allow_owners},
                   {"xattrs", &options.allow_xattrs}}));
  TRY(parse_words(request, "skip",
                  {{"fifos", &options.skip_fifos}, {"devices", &options.skip_devices}}));
  if (request.spooled == nullptr) return Error(Code::kInvalid, "the body is to be an archive");
  return run_call(
      services, request,
      {.kind = "snapshot.import",
       .workload_id = workload.id,
       .body = [&volumes = services.volumes, id = workload.id, options,
                archive = request.spooled](catalog::OperationContext& context) -> Result<json> {
         TRY_ASSIGN(const catalog::SnapshotRow row,
                    volumes.import_archive(id, archive->file(), options, context));
         return encode(row);
       },
       .finish = created_snapshot(workload.id)});
}

}  // namespace

Response import_snapshot(Services& services, Request& request) {
  return respond(request, import_archive(services, request));
}

Response download_snapshot(Services& services, Request& request) {
  return respond(request, download(services, request));
}

}  // namespace cairn::api
