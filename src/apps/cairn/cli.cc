#include "apps/cairn/cli.h"

#include <nlohmann/json.hpp>

#include "apps/cairn/output.h"
#include "os/signals.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

constexpr int kIndent = 2;

std::string json_text(const json& value) {
  const int indent = os::is_terminal(1) ? kIndent : -1;
  return value.dump(indent, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Exit fail(const Cli& cli, const Problem& problem) {
  if (cli.json) {
    json body = json::parse(problem.body(), nullptr, false);
    if (!body.is_object()) {
      body = {{"status", problem.status()},
              {"code", code_name(problem.code())},
              {"title", code_title(problem.code())}};
    }
    print(json_text(body));
  } else {
    print_error("cairn: " + problem.text() + "\n");
  }
  return exit_of(problem.code());
}

Exit succeed(const Cli& cli, const json& result, const Render& render) {
  if (cli.json) {
    print(json_text(result));
    return Exit::kOk;
  }
  print(render(result));
  if (const auto warnings = result.find("warnings");
      warnings != result.end() && warnings->is_array()) {
    for (const json& warning : *warnings) {
      if (warning.is_string()) print_error("warning: " + safe(warning.get<std::string>()) + "\n");
    }
  }
  return Exit::kOk;
}

Exit run(const Cli& cli, const Call& call, const Render& render, const json& empty) {
  auto answer = cli.client().call(call);
  if (!answer.ok()) return fail(cli, Problem(answer.error()));
  if (!answer->ok()) return fail(cli, Problem(answer->status, answer->body));
  if (answer->body.empty()) return succeed(cli, empty, render);
  const json body = json::parse(answer->body, nullptr, false);
  if (body.is_discarded()) {
    return fail(cli, Problem(Error(Code::kInternal, "the daemon's answer is not JSON")));
  }
  return succeed(cli, body, render);
}

Exit run(const Cli& cli, const Call& call, const Render& render) {
  return run(cli, call, render, json::object());
}

Fetched fetch(const Cli& cli, const Call& call) {
  auto answer = cli.client().call(call);
  if (!answer.ok()) return {.value = nullptr, .exit = fail(cli, Problem(answer.error()))};
  if (!answer->ok()) {
    return {.value = nullptr, .exit = fail(cli, Problem(answer->status, answer->body))};
  }
  auto body = std::make_shared<const json>(json::parse(answer->body, nullptr, false));
  if (!body->is_object()) {
    const Problem problem(Error(Code::kInternal, "the daemon's answer is not a JSON object"));
    return {.value = nullptr, .exit = fail(cli, problem)};
  }
  return {.value = std::move(body), .exit = Exit::kOk};
}

bool confirmed(const Cli& cli, bool yes, const std::string& question, const std::string& word) {
  (void)cli;
  return yes || confirm(question, word);
}

Exit not_confirmed(const Cli& cli, const std::string& word) {
  return fail(
      cli, Problem(Error(Code::kCancelled, "not confirmed, nothing was changed; type " + word +
                                               " when asked, or repeat the command with --yes")));
}

}  // namespace cairn::cli
