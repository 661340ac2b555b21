#include "volume/hold.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "os/fault.h"

namespace cairn::volume {

namespace {

constexpr int kHookTimeoutMs = 120'000;  // one pre or post command
constexpr std::size_t kHookOutputBytesMax = 64 * 1024;
constexpr std::size_t kHookShownBytesMax = 400;  // of its output, in a message

std::vector<ContainerState> running_of(const std::vector<ContainerState>& containers) {
  std::vector<ContainerState> running;
  std::ranges::copy_if(containers, std::back_inserter(running),
                       [](const ContainerState& one) { return one.running; });
  return running;
}

}  // namespace

nlohmann::json to_json(const CaptureJournal& journal) {
  return {{"workload_id", journal.workload_id},
          {"consistency", consistency_name(journal.consistency)},
          {"containers", to_json(journal.containers)},
          {"post",
           {{"container_id", journal.post.container_id},
            {"container_name", journal.post.container_name},
            {"command", journal.post.command}}}};
}

Result<CaptureJournal> parse_capture_journal(const nlohmann::json& json) {
  const auto text = [](const nlohmann::json& record,
                       const char* key) -> std::optional<std::string> {
    if (!record.is_object()) return std::nullopt;
    const auto found = record.find(key);
    if (found == record.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
  };
  const auto workload = text(json, "workload_id");
  const auto consistency = text(json, "consistency");
  if (!workload || !consistency || !json.contains("containers") || !json.contains("post")) {
    return Error(Code::kCorrupt, "the journal of a capture is damaged");
  }
  const nlohmann::json& post = json["post"];
  const auto id = text(post, "container_id");
  const auto name = text(post, "container_name");
  const auto command = text(post, "command");
  if (!id || !name || !command) {
    return Error(Code::kCorrupt, "the journal of a capture is damaged");
  }
  CaptureJournal out;
  out.workload_id = *workload;
  auto parsed = parse_consistency(*consistency);
  if (!parsed.ok()) return parsed.error().with_code(Code::kCorrupt);
  out.consistency = *parsed;
  TRY_ASSIGN(out.containers, parse_containers(json["containers"]));
  out.post = {*id, *name, *command};
  return out;
}

Status run_hook(docker::Engine& engine, const Hook& hook, std::string_view name) {
  if (hook.command.empty()) return {};
  const auto ran =
      engine.exec(hook.container_id, {"/bin/sh", "-c", hook.command},
                  {.timeout_ms = kHookTimeoutMs, .output_bytes_max = kHookOutputBytesMax});
  const std::string what = "run the " + std::string(name) + " command in " + hook.container_name;
  if (!ran.ok()) {
    const bool gone = ran.error().code() == Code::kNotFound;
    return (gone ? ran.error().with_code(Code::kConflict) : ran.error()).with_context(what);
  }
  if (ran->timed_out) {
    return Error(Code::kConflict,
                 what + ": it did not end within " + std::to_string(kHookTimeoutMs / 1000) + " s");
  }
  if (ran->exit_code == 0) return {};
  const std::string_view shown = trim(ran->output);
  return Error(Code::kConflict,
               what + ": exit code " + std::to_string(ran->exit_code) +
                   (shown.empty() ? "" : ": " + printable(shown, kHookShownBytesMax)));
}

Status restart_stopped(Core& core,
                       const std::string& workload_id,
                       const std::vector<ContainerState>& containers,
                       HoldClock& clock,
                       const std::stop_token& stop) {
  const std::vector<ContainerState> ran = running_of(containers);
  TRY_ASSIGN(const bool should_run, core.lifecycle.should_run(workload_id));
  if (should_run && !ran.empty()) {
    TRY(while_engine_is_down(stop, [&]() -> Status {
      auto started = clock.engine([&] { return core.lifecycle.start(workload_id, ran); });
      if (!started.ok()) return started.error();
      return {};
    }));
  }
  return while_engine_is_down(stop, [&] { return put_back(core.engine, containers); });
}

Status Hold::begin(Core& core, const CaptureJournal& journal, std::int64_t max_hold_ms) {
  core_ = &core;
  what_ = journal;
  switch (journal.consistency) {
    case Consistency::kPaused:
      return begin_pause(max_hold_ms);
    case Consistency::kStopped:
      return begin_stop(max_hold_ms);
    case Consistency::kLive:
      break;
  }
  return {};
}

Status Hold::begin_pause(std::int64_t max_hold_ms) {
  std::erase_if(what_.containers,
                [](const ContainerState& one) { return !one.running || one.paused; });
  if (what_.containers.empty()) return {};
  const Status paused = while_unfreezable([&]() -> Status {
    released_ = false;
    auto pause = Pause::begin(*core_, what_.containers, max_hold_ms, clock_);
    if (pause.ok()) {
      pause_ = std::move(*pause);
      deadline_ms_ = monotonic_ms() + max_hold_ms;
      return {};
    }
    // A pause that failed half-way may have frozen some: held until all of them run.
    TRY(unpause_all(core_->engine, what_.containers));
    released_ = true;
    return pause.error();
  });
  if (paused.ok() || !docker::cannot_freeze_yet(paused.error())) return paused;
  return Error(Code::kConflict, paused.error().message() +
                                    ": take the snapshot when there is less to write, or use "
                                    "--consistency stopped");
}

Status Hold::begin_stop(std::int64_t max_hold_ms) {
  if (running_of(what_.containers).empty()) return {};
  released_ = false;
  stopped_ = true;
  TRY(stop_all(core_->engine, what_.containers, clock_));
  deadline_ms_ = monotonic_ms() + max_hold_ms;
  return {};
}

Status Hold::end(const std::stop_token& stop) {
  if (pause_) {
    const Status resumed = pause_->end(clock_);
    pause_.reset();
    // kConflict: they run, but the instant was none.
    released_ = resumed.ok() || resumed.error().code() == Code::kConflict;
    return resumed;
  }
  if (stopped_) {
    TRY(restart_stopped(*core_, what_.workload_id, what_.containers, clock_, stop));
    clock_.end();
    stopped_ = false;
    released_ = true;
  }
  return {};
}

}  // namespace cairn::volume
