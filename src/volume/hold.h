// hold: the part of a capture in which the workload holds still, or does not run, as an obligation
// that is journaled before it begins.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "volume/journal.h"
#include "volume/pause.h"
#include "volume/quiesce.h"

namespace cairn::volume {

inline constexpr std::string_view kCapturing = "CAPTURING";

// A command of the user's in one of the workload's containers.
struct Hook {
  std::string container_id;
  std::string container_name;
  std::string command;  // for /bin/sh -c; empty: none
};

// What a capture's journal says. Written before anything is done to a container.
struct CaptureJournal {
  std::string workload_id;
  Consistency consistency = Consistency::kPaused;
  std::vector<ContainerState> containers;
  Hook post;
};
nlohmann::json to_json(const CaptureJournal& journal);
// kCorrupt for anything else.
Result<CaptureJournal> parse_capture_journal(const nlohmann::json& json);

// Runs it and waits for its end. kConflict with the end of its output where it did not end with 0
// or not in time, and where the container is gone or does not run; kUnavailable: engine down. An
// empty one does nothing.
Status run_hook(docker::Engine& engine, const Hook& hook, std::string_view name);

// Starts what ran, policies last; waits for an engine that is down until stop is asked for.
Status restart_stopped(Core& core,
                       const std::string& workload_id,
                       const std::vector<ContainerState>& containers,
                       HoldClock& clock,
                       const std::stop_token& stop);

// One thread at a time.
class Hold {
 public:
  // Pauses, stops or leaves alone the journal's containers, as its consistency says. A pause is
  // tried again where processes wait for a busy disk: kConflict at the end, hold_ms() has all
  // tries. A failure leaves them as they were, or the caller's journal to recovery (released() is
  // false then).
  Status begin(Core& core, const CaptureJournal& journal, std::int64_t max_hold_ms);
  // The moment until which the cut must be done; 0: there is none.
  [[nodiscard]] std::int64_t deadline_ms() const { return deadline_ms_; }
  // Resumes or starts them. kConflict: they run, but did not hold still until now.
  Status end(const std::stop_token& stop);
  // Nothing is held: the journal may go.
  [[nodiscard]] bool released() const { return released_; }
  [[nodiscard]] std::int64_t hold_ms() const { return clock_.hold_ms(); }

 private:
  Status begin_pause(std::int64_t max_hold_ms);
  Status begin_stop(std::int64_t max_hold_ms);

  Core* core_ = nullptr;
  CaptureJournal what_;
  HoldClock clock_;
  std::optional<Pause> pause_;
  std::int64_t deadline_ms_ = 0;
  bool stopped_ = false;
  bool released_ = true;
};

}  // namespace cairn::volume
