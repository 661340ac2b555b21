#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/handlers.h"
#include "api/limits.h"
#include "api/problem.h"
#include "base/error_map.h"
#include "workload/service.h"

namespace cairn::api {

using nlohmann::json;

namespace {

constexpr std::size_t kLineBytesMax = std::size_t{64} << 10U;

// Cuts the pieces of two streams into lines; a line that never ends is cut too.
class Lines {
 public:
  using Sink = std::function<bool(docker::Stream, const std::string&)>;

  bool feed(docker::Stream stream, std::string_view bytes, const Sink& sink) {
    std::string& line = lines_.at(stream == docker::Stream::kErr ? 1 : 0);
    while (!bytes.empty()) {
      const std::size_t room = kLineBytesMax - line.size();
      const std::size_t end = bytes.find('\n');
      const bool whole = end != std::string_view::npos && end <= room;
      const std::size_t taken = whole ? end : std::min(room, bytes.size());
      line.append(bytes.substr(0, taken));
      bytes.remove_prefix(whole ? taken + 1 : taken);
      if (!whole && line.size() < kLineBytesMax) continue;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (!sink(stream, line)) return false;
      line.clear();
    }
    return true;
  }

  void flush(const Sink& sink) {
    if (!lines_[0].empty() && !sink(docker::Stream::kOut, lines_[0])) return;
    if (!lines_[1].empty()) (void)sink(docker::Stream::kErr, lines_[1]);
  }

 private:
  std::array<std::string, 2> lines_;
};

json encode_line(docker::Stream stream, const std::string& text) {
  return {{"stream", stream == docker::Stream::kErr ? "stderr" : "stdout"}, {"text", text}};
}

Response collect(Services& services,
                 const std::string& id,
                 const workload::LogRequest& wanted,
                 const std::string& request_id,
                 const std::stop_token& stop) {
  json list = json::array();
  Lines lines;
  std::size_t bytes_left = kLogBytesMax;
  const Lines::Sink keep = [&list, &bytes_left](docker::Stream stream, const std::string& text) {
    list.push_back(encode_line(stream, text));
    bytes_left -= std::min(bytes_left, text.size() + 1);
    return bytes_left > 0;
  };
  const Status read = services.workloads.logs(
      id, wanted,
      [&lines, &keep](docker::Stream stream, std::string_view bytes) {
        return lines.feed(stream, bytes, keep);
      },
      stop);
  if (!read.ok()) return problem(read.error(), request_id);
  lines.flush(keep);
  return json_response({{"lines", std::move(list)}, {"truncated", bytes_left == 0}});
}

void follow(Services& services,
            const std::string& id,
            const workload::LogRequest& wanted,
            const std::string& request_id,
            EventStream& events) {
  Lines lines;
  const Lines::Sink send = [&events](docker::Stream stream, const std::string& text) {
    return events.send("log", dump(encode_line(stream, text)), "").ok();
  };
  const Status read = services.workloads.logs(
      id, wanted,
      [&lines, &send](docker::Stream stream, std::string_view bytes) {
        return lines.feed(stream, bytes, send);
      },
      events.stop());
  lines.flush(send);
  const std::string last =
      read.ok() ? "{}"
                : dump(problem_json(read.error(), http_status(read.error().code()), request_id));
  // Best effort: a client that is gone reads no end.
  (void)events.send(read.ok() ? "end" : "error", last, "").ok();
}

Result<Response> logs(Services& services, const Request& request) {
  TRY_ASSIGN(const catalog::Workload workload, get_workload(services, request));
  workload::LogRequest wanted;
  TRY_ASSIGN(wanted.follow, request.flag("follow"));
  TRY_ASSIGN(wanted.timestamps, request.flag("timestamps"));
  if (request.query.count("tail") != 0) {
    TRY_ASSIGN(const std::uint64_t tail, request.number("tail", 0, kLogTailMax));
    wanted.tail = static_cast<std::uint32_t>(tail);
  }
  Response response;
  if (wanted.follow || accepts_events(request)) {
    response.stream = [&services, id = workload.id, wanted,
                       request_id = request.id](EventStream& events) {
      follow(services, id, wanted, request_id, events);
    };
    return response;
  }
  response.later = [&services, id = workload.id, wanted,
                    request_id = request.id](const std::stop_token& stop) {
    return collect(services, id, wanted, request_id, stop);
  };
  return response;
}

}  // namespace

Response workload_logs(Services& services, Request& request) {
  return respond(request, logs(services, request));
}

}  // namespace cairn::api
