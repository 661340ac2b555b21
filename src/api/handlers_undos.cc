#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "base/strings.h"
#include "catalog/catalog.h"
#include "volume/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

Result<catalog::UndoRow> get_undo(Services& services, const Request& request) {
  const std::string& uid = request.param("uid");
  TRY_ASSIGN(std::optional<catalog::UndoRow> row, services.catalog.undos().find(uid));
  if (!row.has_value()) return Error(Code::kNotFound, "no undo " + printable(uid));
  return *std::move(row);
}

Result<Response> try_show_undo(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::UndoRow row, get_undo(services, request));
  json encoded = encode(row);
  TRY_ASSIGN(encoded["volumes"], volume::Service::targets_of(row));
  return json_response(encoded);
}

// ?workload= takes an id or a name; a removed workload is known by what it left.
Result<Response> try_list_undos(Services& services, const Request& request) {
  std::string wanted;
  if (const auto found = request.query.find("workload"); found != request.query.end()) {
    TRY_ASSIGN(const std::optional<catalog::Workload> workload,
               services.catalog.workloads().find(found->second));
    wanted = workload.has_value() ? workload->id : found->second;
  }
  TRY_ASSIGN(const std::vector<catalog::UndoRow> rows, services.catalog.undos().list(""));
  std::vector<catalog::UndoRow> matching;
  for (const catalog::UndoRow& row : rows) {
    if (wanted.empty() || row.workload_id == wanted || row.workload_name == wanted) {
      matching.push_back(row);
    }
  }
  return json_response(encode_list("undos", matching));
}

Result<Response> try_apply_undo(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::UndoRow row, get_undo(services, request));
  TRY_ASSIGN(const volume::RestoreOptions options,
             parse_restore_options(request, ChooseVolumes::kNo));
  return run_call(services, request,
                  {.kind = "restore.undo",
                   .workload_id = row.workload_id,
                   .body = [&volumes = services.volumes, row,
                            options](catalog::OperationContext& context) -> Result<json> {
                     TRY_ASSIGN(const volume::RestoreResult result,
                                volumes.undo(row, options, context));
                     json encoded = encode(result);
                     encoded["applied"] = row.id;
                     return encoded;
                   },
                   .may_use_reserve = true});
}

Result<Response> discard(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::UndoRow row, get_undo(services, request));
  return run_call(
      services, request,
      {.kind = "restore.discard",
       .workload_id = row.workload_id,
       .body = [&volumes = services.volumes, row](catalog::OperationContext&) -> Result<json> {
         TRY(volumes.discard_undo(row));
         return json{{"status", "discarded"}, {"undo", row.id}, {"warnings", json::array()}};
       },
       .may_use_reserve = true});
}

}  // namespace

Response list_undos(Services& services, Request& request) {
  return respond(request, try_list_undos(services, request));
}

Response show_undo(Services& services, Request& request) {
  return respond(request, try_show_undo(services, request));
}

Response apply_undo(Services& services, Request& request) {
  return respond(request, try_apply_undo(services, request));
}

Response discard_undo(Services& services, Request& request) {
  return respond(request, discard(services, request));
}

}  // namespace cairn::api
