#include "request.h"

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace cairn::spawner {

namespace {

using nlohmann::json;

std::string text_of(const json& record, const char* key) {
  return record.at(key).get<std::string>();
}

Program program_of(const json& record) {
  return {.argv = record.at("argv").get<std::vector<std::string>>(),
          .env = record.at("env").get<std::vector<std::string>>(),
          .cwd = text_of(record, "cwd"),
          .uid = record.at("uid").get<uid_t>(),
          .gid = record.at("gid").get<gid_t>()};
}

Root root_of(const json& record) {
  Root root{.lower = text_of(record, "lower"),
            .upper = text_of(record, "upper"),
            .work = text_of(record, "work"),
            .merged = text_of(record, "merged"),
            .shm_bytes = record.at("shm_bytes").get<std::uint64_t>(),
            .hostname = text_of(record, "hostname")};
  for (const json& mount : record.at("mounts")) {
    root.mounts.push_back({.type = text_of(mount, "type"),
                           .source = text_of(mount, "source"),
                           .target = text_of(mount, "target"),
                           .read_only = mount.at("ro").get<bool>()});
  }
  return root;
}

Request request_of(const json& record) {
  const auto seq = record.at("seq").get<std::uint64_t>();
  if (text_of(record, "op") == "exec") {
    return {seq, ExecRequest{.key = text_of(record, "key"),
                             .container = record.at("pid").get<pid_t>(),
                             .cgroup = text_of(record, "cgroup"),
                             .program = program_of(record)}};
  }
  return {seq, RunRequest{.key = text_of(record, "key"),
                          .directory = text_of(record, "dir"),
                          .log = text_of(record, "log"),
                          .pid_file = text_of(record, "pidfile"),
                          .cgroup = text_of(record, "cgroup"),
                          .root = root_of(record),
                          .program = program_of(record)}};
}

// Paths in errors may be of any bytes.
std::string line_of(const json& record) {
  return record.dump(-1, ' ', true, json::error_handler_t::replace);
}

}  // namespace

Request parse_request(std::string_view text) {
  try {
    return request_of(json::parse(text));
  } catch (const json::exception& error) {
    std::fprintf(stderr, "cairn_fake_spawner: request: %s\n", error.what());
    std::exit(1);
  }
}

std::string answer_text(std::uint64_t seq, const Answer& answer) {
  json record{{"op", "answer"}, {"seq", seq}};
  if (const auto* failure = std::get_if<Failure>(&answer)) {
    record["kind"] = failure->kind == FailureKind::kLookup ? "lookup" : "os";
    record["error"] = failure->error;
  } else {
    record["pid"] = std::get<Started>(answer).pid;
  }
  return line_of(record);
}

std::string exit_text(const Exit& exit) {
  return line_of({{"op", "exited"}, {"key", exit.key}, {"pid", exit.pid}, {"code", exit.code}});
}

}  // namespace cairn::spawner
