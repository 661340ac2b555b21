// EngineClient: what containers say, and commands inside them.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "docker/client.h"
#include "docker/demux.h"
#include "docker/inspect.h"
#include "docker/json_read.h"
#include "docker/wire.h"
#include "os/socket.h"

namespace cairn::docker {

namespace {

constexpr int kExecEndMs = 2'000;  // between the stream's end and the exit code
constexpr int kExecPollMs = 10;
// What a shell answers for a command that it cannot run (POSIX, 2.8.2).
constexpr int kCannotRun = 126;

std::string seconds_text(std::int64_t ms) {
  return fmt::format("{}.{:03d}", ms / 1000, ms % 1000);
}

}  // namespace

Status EngineClient::logs(const std::string& id,
                          const LogOptions& options,
                          const LogSink& sink,
                          std::stop_token stop) {
  // Whether frames come depends on the container, and before API 1.42 no header says so.
  TRY_ASSIGN(Container container, get_container(*this, id));
  std::string parameters = query({{"stdout", "1"},
                                  {"stderr", "1"},
                                  {"follow", options.follow ? "1" : "0"},
                                  {"timestamps", options.timestamps ? "1" : "0"},
                                  {"tail", options.tail ? std::to_string(*options.tail) : "all"},
                                  {"since", seconds_text(options.since_ms)}});
  net::Request request{.method = "GET",
                       .target = fmt::format("/containers/{}/logs{}", container.id, parameters),
                       .headers = {},
                       .body = {}};
  net::CallOptions call;
  // A long log may take its time as long as it comes; a followed one may be silent for ever.
  call.total_ms = net::kNoTimeout;
  if (!options.follow) call.idle_ms = net::kCallTimeoutMs;
  call.stop = std::move(stop);
  Demux demux;
  Status fed;
  Status streamed = wire_->stream(std::move(request), call, [&](std::string_view bytes) {
    if (container.tty) return sink(Stream::kOut, bytes);
    fed = demux.feed(bytes, sink);
    return fed.ok() && !demux.stopped();
  });
  const Status& failed = streamed.ok() ? fed : streamed;
  if (!failed.ok()) return failed.error().with_context("logs of " + id);
  TRY_CONTEXT(demux.end(), "logs of " + id);
  return {};
}

Result<std::optional<Exec>> EngineClient::find_exec(const std::string& exec_id) {
  TRY(check_object_name(exec_id));
  auto document = wire_->get_json(fmt::format("/exec/{}/json", exec_id));
  if (!document.ok()) {
    if (document.error().code() == Code::kNotFound) return std::optional<Exec>();
    return document.error().with_context("inspect the command " + with_short_ids(exec_id));
  }
  TRY_ASSIGN(Exec exec, parse_exec(*document));
  return std::optional(exec);
}

Result<ExecResult> EngineClient::exec(const std::string& id,
                                      const std::vector<std::string>& argv,
                                      const ExecOptions& options) {
  TRY(check_object_name(id));
  std::int64_t deadline_ms = monotonic_ms() + options.timeout_ms;
  TRY_ASSIGN(std::string create_body,
             to_text({{"AttachStdout", true}, {"AttachStderr", true}, {"Cmd", argv}}));
  auto created = wire_->call("POST", fmt::format("/containers/{}/exec", id), create_body);
  if (!created.ok()) return created.error().with_context("exec in " + with_short_ids(id));
  TRY_ASSIGN(nlohmann::json document, parse_json(created->body));
  JsonFault fault;
  std::string exec_id = JsonReader(document, fault).text("Id");
  TRY(fault.status());
  TRY(check_object_name(exec_id));

  ExecResult result;
  Demux demux;
  Status fed;
  net::Request request{.method = "POST",
                       .target = fmt::format("/exec/{}/start", exec_id),
                       .headers = {{.name = "Content-Type", .value = "application/json"}},
                       .body = R"({"Detach":false,"Tty":false})"};
  net::CallOptions call;
  call.total_ms = options.timeout_ms;
  auto keep = [&](Stream, std::string_view bytes) {
    std::size_t room = options.output_bytes_max - result.output.size();
    if (bytes.size() > room) result.truncated = true;
    result.output += bytes.substr(0, room);
    return true;
  };
  Status streamed = wire_->stream(std::move(request), call, [&](std::string_view bytes) {
    fed = demux.feed(bytes, keep);
    return fed.ok();
  });
  if (!streamed.ok()) {
    const Error& error = streamed.error();
    if (error.code() == Code::kUnavailable && monotonic_ms() >= deadline_ms) {
      result.timed_out = true;
      return result;
    }
    // A command that is not there or may not run is an answer of the container's, not a failure of
    // the engine's.
    if (error.code() == Code::kInvalid) {
      result.exit_code = kCannotRun;
      result.output = error.message();
      return result;
    }
    return error.with_context("exec in " + with_short_ids(id));
  }
  if (!fed.ok()) return fed.error().with_context("exec in " + with_short_ids(id));

  TRY_ASSIGN(os::Patience patience, os::Patience::until(monotonic_ms() + kExecEndMs));
  while (true) {
    // The exit code follows the end of the output by a moment.
    TRY_ASSIGN(const std::optional<Exec> end, find_exec(exec_id));
    if (!end) return Error(Code::kNotFound, "exec in " + with_short_ids(id) + ": it is gone");
    if (!end->running && end->exit_code) {
      result.exit_code = *end->exit_code;
      return result;
    }
    TRY_CONTEXT(patience.nap(kExecPollMs), "exec in " + with_short_ids(id));
  }
}

}  // namespace cairn::docker
