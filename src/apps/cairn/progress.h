// ProgressLine: one line on a terminal that shows how far an operation is, with rate and time left.
// One thread at a time.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace cairn::cli {

class ProgressLine {
 public:
  // Shows nothing unless standard error is a terminal.
  ProgressLine(std::string title, bool wanted);
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { clear(); }

  // operation: as the API shows it.
  void show(const nlohmann::json& operation, std::int64_t now_ms);
  void clear();

  // The line itself, for show() and its test. Rates count from the phase's first report.
  [[nodiscard]] std::string line(const nlohmann::json& operation, std::int64_t now_ms);

 private:
  const std::string title_;
  const bool wanted_;
  std::string phase_;
  std::int64_t phase_began_ms_ = 0;
  std::uint64_t phase_began_at_ = 0;  // what was done then, in the unit that is counted
  bool shown_ = false;
};

}  // namespace cairn::cli
