// A long call: POST with "Prefer: respond-async", then the operation's events up to its end. The
// daemon goes on whatever happens to this process.
#include <csignal>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "apps/cairn/progress.h"
#include "base/clock.h"
#include "os/signals.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

constexpr int kSignalStepMs = 200;

// While it lives, Ctrl-C and a polite end become a stop of `source` instead of the process's end.
class Interrupts {
 public:
  explicit Interrupts(std::stop_source& source) {
    // Without the mask Ctrl-C ends the process as ever, which is fine too.
    if (!os::block_signals(signals_).ok()) return;
    watcher_ = std::jthread([this, &source](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        auto taken = os::wait_signal(signals_, kSignalStepMs);
        if (!taken.ok()) return;
        if (taken->has_value()) source.request_stop();
      }
    });
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  ~Interrupts() {
    watcher_.request_stop();
    if (watcher_.joinable()) watcher_.join();
    // Nothing depends on it any more: the process is about to end.
    (void)os::unblock_signals(signals_).ok();
  }

 private:
  const std::vector<int> signals_{SIGINT, SIGTERM};
  std::jthread watcher_;
};

Exit left_running(const Cli& cli, const std::string& operation, const std::string& why) {
  const std::string how = "look at the operation with: cairn operation show " + operation;
  if (!cli.json) {
    print_error("cairn: " + why + "; the operation may go on in the daemon\n  " + how + "\n");
    return Exit::kFailed;
  }
  const json body = {{"type", "urn:cairn:problem:cancelled"},
                     {"title", "no longer followed"},
                     {"status", 202},
                     {"code", "cancelled"},
                     {"detail", why + "; " + how},
                     {"operation", operation}};
  return fail(cli, Problem(202, body.dump()));
}

Exit finish(const Cli& cli, const json& operation, const Render& render) {
  const std::string state = operation.value("state", std::string());
  if (state == "done") return succeed(cli, operation.value("result", json::object()), render);
  json error = operation.value("error", json::object());
  if (error.empty()) {
    error = {{"code", state == "cancelled" ? "cancelled" : "internal"},
             {"title", "the operation was " + state},
             {"status", 500},
             {"operation", operation.value("id", std::string())}};
  }
  const int status = error.value("status", 500);
  return fail(cli, Problem(status, dump(error)));
}

}  // namespace

Exit follow(const Cli& cli,
            const std::string& operation,
            const std::string& title,
            const Render& render) {
  std::stop_source stop;
  json last;
  {
    ProgressLine progress(title, !cli.json);
    const Interrupts interrupts(stop);
    const Call call{.target = path_of("/api/operations", {operation}) + "/events"};
    auto answer = cli.client().stream(
        call, stop.get_token(), [&last, &progress](std::string_view event, std::string_view data) {
          json parsed = json::parse(data, nullptr, false);
          if (!parsed.is_object()) return true;
          progress.show(parsed, monotonic_ms());
          if (event != "done") return true;
          last = std::move(parsed);
          return false;
        });
    progress.clear();
    if (last.is_null()) {
      if (stop.stop_requested()) return left_running(cli, operation, "interrupted");
      if (answer.ok() && !answer->ok()) return fail(cli, Problem(answer->status, answer->body));
      return left_running(
          cli, operation,
          answer.ok() ? "the daemon ended the connection" : answer.error().message());
    }
  }
  return finish(cli, last, render);
}

Exit run_long(const Cli& cli, Call call, const std::string& title, const Render& render) {
  call.headers.emplace_back("Prefer", "respond-async");
  auto answer = cli.client().call(call);
  if (!answer.ok()) return fail(cli, Problem(answer.error()));
  if (!answer->ok()) return fail(cli, Problem(answer->status, answer->body));
  const json body = json::parse(answer->body, nullptr, false);
  if (!body.is_object()) {
    return fail(cli, Problem(Error(Code::kInternal, "the daemon's answer is not a JSON object")));
  }
  if (answer->status != 202) return succeed(cli, body, render);
  return follow(cli, body.value("id", std::string()), title, render);
}

}  // namespace cairn::cli
