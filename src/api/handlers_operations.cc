#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/limits.h"
#include "api/problem.h"
#include "base/clock.h"
#include "base/strings.h"
#include "catalog/catalog.h"

namespace cairn::api {

using nlohmann::json;

namespace {

constexpr std::uint64_t kListDefault = 50;

// The workload that ?workload= names, by id or name, as an id; what is not known stays as it is, so
// that what a removed workload left is found by its id. Empty: all.
Result<std::string> workload_filter(Services& services, const Request& request) {
  const auto found = request.query.find("workload");
  if (found == request.query.end()) return std::string();
  TRY_ASSIGN(const std::optional<catalog::Workload> workload,
             services.catalog.workloads().find(found->second));
  return workload.has_value() ? workload->id : found->second;
}

Result<catalog::OperationRow> get_operation(Services& services, const Request& request) {
  const std::string& id = request.param("id");
  TRY_ASSIGN(std::optional<catalog::OperationRow> row, services.operations.find(id));
  if (!row.has_value()) return Error(Code::kNotFound, "no operation " + printable(id));
  return *std::move(row);
}

Result<Response> list(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string workload, workload_filter(services, request));
  TRY_ASSIGN(const std::uint64_t limit, request.number("limit", kListDefault, kListMax));
  TRY_ASSIGN(const std::vector<catalog::OperationRow> rows,
             services.operations.list(workload, static_cast<std::int64_t>(limit)));
  return json_response(encode_list("operations", rows));
}

Result<Response> cancel(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::OperationRow row, get_operation(services, request));
  TRY(services.operations.cancel(row.id));
  TRY_ASSIGN(const catalog::OperationRow now, get_operation(services, request));
  return json_response(encode(now), 202);
}

// "progress" at every change, "done" once, with the whole operation each time.
void stream_changes(catalog::Operations& operations, const std::string& id, EventStream& events) {
  std::uint64_t version = 0;
  std::int64_t sent_ms = monotonic_ms();
  while (!events.stop().stop_requested()) {
    auto change = operations.wait_change(id, version, version == 0 ? 0 : kWaitStepMs);
    if (!change.ok()) return;
    const bool over = change->row.state != catalog::OperationState::kRunning;
    if (over || change->version != version) {
      const std::string data = dump(encode(change->row));
      if (!events.send(over ? "done" : "progress", data, "").ok() || over) return;
      sent_ms = monotonic_ms();
    } else if (monotonic_ms() - sent_ms > kKeepAliveMs) {
      if (!events.keep_alive().ok()) return;
      sent_ms = monotonic_ms();
    }
    version = change->version;
  }
}

void stream_events(catalog::EventTable& table,
                   std::int64_t after,
                   const std::string& workload,
                   EventStream& events) {
  std::int64_t sent_ms = monotonic_ms();
  while (!events.stop().stop_requested()) {
    auto found = table.wait_new(after, workload, kWaitStepMs, events.stop());
    if (!found.ok()) return;
    for (const catalog::Event& event : *found) {
      if (!events.send(event.kind, dump(encode(event)), std::to_string(event.id)).ok()) return;
      after = event.id;
      sent_ms = monotonic_ms();
    }
    if (monotonic_ms() - sent_ms > kKeepAliveMs) {
      if (!events.keep_alive().ok()) return;
      sent_ms = monotonic_ms();
    }
  }
}

// Where a stream goes on: after the last event that a reconnecting client saw, else from ?after=,
// else from now.
Result<std::int64_t> stream_start(Services& services,
                                  const Request& request,
                                  const std::string& workload) {
  const std::string_view last = request.headers.get("last-event-id");
  if (!last.empty()) {
    const std::optional<std::uint64_t> id = parse_uint(last);
    if (!id.has_value() || *id > INT64_MAX) {
      return Error(Code::kInvalid, "Last-Event-ID is not the id of an event");
    }
    return static_cast<std::int64_t>(*id);
  }
  if (request.query.count("after") != 0) {
    TRY_ASSIGN(const std::uint64_t after, request.number("after", 0, INT64_MAX));
    return static_cast<std::int64_t>(after);
  }
  TRY_ASSIGN(const std::vector<catalog::Event> newest,
             services.catalog.events().list_newest(workload, 1));
  return newest.empty() ? 0 : newest.back().id;
}

Result<Response> events(Services& services, const Request& request) {
  TRY_ASSIGN(const std::string workload, workload_filter(services, request));
  if (accepts_events(request)) {
    TRY_ASSIGN(const std::int64_t after, stream_start(services, request, workload));
    Response response;
    response.stream = [&table = services.catalog.events(), after, workload](EventStream& out) {
      stream_events(table, after, workload, out);
    };
    return response;
  }
  TRY_ASSIGN(const std::uint64_t limit, request.number("limit", kListDefault, kListMax));
  TRY_ASSIGN(const std::uint64_t after, request.number("after", 0, INT64_MAX));
  catalog::EventTable& table = services.catalog.events();
  const auto count = static_cast<std::int64_t>(limit);
  TRY_ASSIGN(const std::vector<catalog::Event> found,
             request.query.count("after") != 0
                 ? table.list(static_cast<std::int64_t>(after), workload, count)
                 : table.list_newest(workload, count));
  return json_response(encode_list("events", found));
}

}  // namespace

Response list_operations(Services& services, Request& request) {
  return respond(request, list(services, request));
}

Response show_operation(Services& services, Request& request) {
  auto row = get_operation(services, request);
  if (!row.ok()) return problem(row.error(), request.id);
  return json_response(encode(*row));
}

Response cancel_operation(Services& services, Request& request) {
  return respond(request, cancel(services, request));
}

Response stream_operation(Services& services, Request& request) {
  auto row = get_operation(services, request);
  if (!row.ok()) return problem(row.error(), request.id);
  Response response;
  response.stream = [&operations = services.operations, id = row->id](EventStream& out) {
    stream_changes(operations, id, out);
  };
  return response;
}

Response list_events(Services& services, Request& request) {
  return respond(request, events(services, request));
}

}  // namespace cairn::api
