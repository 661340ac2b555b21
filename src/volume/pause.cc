#include "volume/pause.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "docker/client.h"
#include "os/fault.h"

namespace cairn::volume {

namespace {

constexpr int kWatcherStartMs = 10'000;
constexpr int kWatcherAnswerMs = 60'000;
constexpr std::int64_t kThawRetryMs = 200;
// The engine may be down when the time comes; it is tried again this long, then recovery's turn.
constexpr std::int64_t kThawTriesMs = 30LL * 60 * 1000;

constexpr std::int64_t kStartsWaitMs = 2'000;  // a pause waits for what is being started
constexpr std::int64_t kStartsPollMs = 10;     // between two looks
constexpr std::int64_t kProbeSoonMs = 300;     // more than a watcher's start and a pause take
constexpr std::int64_t kProbeLateMs = 200;  // a probe that should have come is not awaited any more
constexpr std::size_t kExecsMax = 64;       // in a container: more are not looked at

Status thaw(docker::Engine& engine, const std::string& id) {
  const Status done = engine.unpause(id);
  // kConflict: it is not paused. kNotFound: it is gone.
  if (done.ok() || done.error().code() == Code::kConflict ||
      done.error().code() == Code::kNotFound) {
    return {};
  }
  // Engines answer "not paused" with other codes too: look.
  TRY_ASSIGN(const std::optional<docker::Container> now, engine.find_container(id));
  if (!now || !now->paused) return {};
  return done;
}

void thaw_until_done(docker::Engine& engine, const std::vector<std::string>& ids) {
  const std::int64_t deadline = monotonic_ms() + kThawTriesMs;
  for (const std::string& id : ids) {
    while (!thaw(engine, id).ok() && monotonic_ms() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kThawRetryMs));
    }
  }
}

// What is not frozen any more may have written while it was read.
Status check_frozen(docker::Engine& engine, const std::vector<ContainerState>& containers) {
  for (const ContainerState& one : containers) {
    TRY_ASSIGN(const std::optional<docker::Container> now, engine.find_container(one.id));
    if (!now || !now->paused) {
      return Error(Code::kConflict, one.name +
                                        " did not stay paused while it was read, so the capture is "
                                        "thrown away: take it again");
    }
  }
  return {};
}

// Of one that is probed all the time there is no better moment.
bool is_probe_due(const docker::Container& container) {
  if (container.health_interval_ms < 2 * (kProbeSoonMs + kProbeLateMs)) return false;
  std::int64_t due_ms = container.started_ms;
  if (!container.health_log.empty()) {
    due_ms = std::max(due_ms, container.health_log.back().ended_ms);
  }
  due_ms += container.health_interval_ms;
  const std::int64_t now_ms = wall_ms();
  return now_ms >= due_ms - kProbeSoonMs && now_ms < due_ms + kProbeLateMs;
}

Result<bool> starts_command(docker::Engine& engine, const std::string& id) {
  TRY_ASSIGN(const std::optional<docker::Container> container, engine.find_container(id));
  if (!container) return false;
  if (is_probe_due(*container)) return true;
  const std::size_t execs = std::min(container->exec_ids.size(), kExecsMax);
  for (std::size_t i = 0; i < execs; ++i) {
    TRY_ASSIGN(const std::optional<docker::Exec> exec, engine.find_exec(container->exec_ids[i]));
    if (exec && exec->running && exec->pid == 0) return true;
  }
  return false;
}

Status say(const os::Fd& fd, const std::string& line) {
  return os::write_all(fd, as_bytes(line + "\n"));
}

}  // namespace

int run_pause_watcher(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) return 2;
  const auto max_hold_ms = parse_uint(arguments[1]);
  if (!max_hold_ms || *max_hold_ms > 24ULL * 3600 * 1000) return 2;
  const std::vector<std::string> ids(arguments.begin() + 2, arguments.end());
  docker::EngineClient engine(arguments[0]);
  const os::Fd connection(::dup(STDIN_FILENO));
  if (!say(connection, "ready").ok()) return 1;
  const auto line = os::read_line(connection, static_cast<int>(*max_hold_ms));
  const bool in_time = line.ok();  // "resume", or the end of a daemon that died
  thaw_until_done(engine, ids);
  // Nobody may be there to hear it: the containers run, which is what counts.
  (void)say(connection, in_time ? "resumed" : "expired").ok();
  return 0;
}

Status unpause_all(docker::Engine& engine, const std::vector<ContainerState>& containers) {
  for (const ContainerState& one : containers) {
    TRY_CONTEXT(thaw(engine, one.id), "resume " + one.name);
  }
  return {};
}

Status await_started_commands(docker::Engine& engine,
                              const std::vector<ContainerState>& containers) {
  const std::int64_t deadline_ms = monotonic_ms() + kStartsWaitMs;
  while (true) {
    bool starts = false;
    for (const ContainerState& one : containers) {
      TRY_ASSIGN(starts, starts_command(engine, one.id));
      if (starts) break;
    }
    if (!starts || monotonic_ms() >= deadline_ms) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(kStartsPollMs));
  }
}

Result<Pause> Pause::begin(Core& core,
                           const std::vector<ContainerState>& containers,
                           std::int64_t max_hold_ms,
                           HoldClock& clock) {
  TRY(await_started_commands(core.engine, containers));
  std::vector<std::string> argv{os::kOwnProgram, "pause-watcher", core.engine_socket_path,
                                std::to_string(max_hold_ms)};
  for (const ContainerState& one : containers) argv.push_back(one.id);
  if (os::seeded(os::Bug::kWatcherNotStarted)) argv = {"/bin/true"};
  TRY_ASSIGN(os::Child watcher, os::Child::spawn_session(argv));
  if (!os::seeded(os::Bug::kWatcherNotStarted)) {
    auto ready = os::read_line(watcher.connection(), kWatcherStartMs);
    if (!ready.ok()) return ready.error().with_context("start the pause watcher");
    if (*ready != "ready") return Error(Code::kInternal, "the pause watcher did not start");
  }
  Pause pause(core, containers, std::move(watcher));
  clock.begin();
  for (const ContainerState& one : containers) {
    const Status paused = clock.engine([&] { return core.engine.pause(one.id); });
    if (paused.ok()) continue;
    const Status resumed = pause.resume(clock);
    if (!resumed.ok()) log::warn("resume after a failed pause: {}", resumed.error().message());
    return paused.error().with_context("pause " + one.name);
  }
  return pause;
}

Status Pause::end(HoldClock& clock) {
  const Status frozen = clock.engine([&] { return check_frozen(core_->engine, containers_); });
  TRY(resume(clock));
  if (!frozen.ok()) return Error(Code::kConflict, frozen.error().message());
  return {};
}

Status Pause::resume(HoldClock& clock) {
  os::Child watcher = std::move(*watcher_);
  watcher_.reset();
  // The watcher thaws, so that there is no moment in which nobody would. One whose time is over
  // takes no words any more, but its answer waits to be read.
  const Status asked = say(watcher.connection(), "resume");
  const auto answer =
      clock.engine([&] { return os::read_line(watcher.connection(), kWatcherAnswerMs); });
  const std::string word = answer.ok() ? answer->value_or("") : "";
  const bool resumed = word == "resumed";
  const bool expired = word == "expired";
  // A watcher that died thawed nothing, and one whose time was over before a slow engine paused
  // found nothing to thaw.
  Status ours;
  if (!resumed) {
    ours = clock.engine([&] { return unpause_all(core_->engine, containers_); });
  }
  clock.end();
  if (answer.ok()) {
    const auto ended = watcher.wait();
    if (!ended.ok()) log::warn("the pause watcher: {}", ended.error().message());
  }
  if (!ours.ok()) return ours;
  if (expired) {
    return Error(Code::kConflict,
                 "the pause lasted as long as max_hold allows, so the workload was resumed and the "
                 "capture thrown away: allow more (--max-hold), choose a quieter moment, or use "
                 "--consistency live");
  }
  if (!resumed && !os::seeded(os::Bug::kWatcherNotStarted)) {
    return Error(Code::kConflict, "the watcher of the pause ended early" +
                                      (asked.ok() ? "" : ": " + asked.error().message()) +
                                      "; the capture is thrown away: take it again");
  }
  return {};
}

}  // namespace cairn::volume
