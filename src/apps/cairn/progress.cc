#include "apps/cairn/progress.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/cairn/output.h"
#include "os/signals.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

std::uint64_t number(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

}  // namespace

ProgressLine::ProgressLine(std::string title, bool wanted)
    : title_(std::move(title)), wanted_(wanted && os::is_terminal(2)) {}

std::string ProgressLine::line(const json& operation, std::int64_t now_ms) {
  const std::string phase = operation.value("phase", std::string());
  const json counts = operation.value("progress", json::object());
  const std::uint64_t bytes_total = number(counts, "bytes_total");
  const bool in_bytes = bytes_total > 0 || number(counts, "items_done") == 0;
  const std::uint64_t done = number(counts, in_bytes ? "bytes_done" : "items_done");
  const std::uint64_t total = in_bytes ? bytes_total : number(counts, "items_total");
  if (phase != phase_ || done < phase_began_at_) {
    phase_ = phase;
    phase_began_ms_ = now_ms;
    phase_began_at_ = done;
  }
  std::string out = title_ + ": " + (phase.empty() ? "begins" : safe(phase));
  if (done == 0 && total == 0) return out;

  const auto amount = [in_bytes](std::uint64_t value) {
    return in_bytes ? human_bytes(value) : fmt::format("{} files", value);
  };
  out += "  " + amount(done);
  if (total > 0) {
    out += fmt::format(" of {}  {} %", amount(total), done >= total ? 100 : done * 100 / total);
  }
  const std::int64_t elapsed_ms = now_ms - phase_began_ms_;
  const std::uint64_t moved = done - phase_began_at_;
  // Before that a rate is only noise.
  constexpr std::int64_t kRateAfterMs = 500;
  if (elapsed_ms < kRateAfterMs || moved == 0) return out;
  const double per_ms = static_cast<double>(moved) / static_cast<double>(elapsed_ms);
  out += "  " + amount(static_cast<std::uint64_t>(per_ms * 1000)) + "/s";
  if (total > done) {
    const double left_ms = static_cast<double>(total - done) / per_ms;
    out += "  " + human_ms(static_cast<std::int64_t>(left_ms)) + " left";
  }
  return out;
}

void ProgressLine::show(const json& operation, std::int64_t now_ms) {
  const std::string text = line(operation, now_ms);
  if (!wanted_) return;
  const auto columns = static_cast<std::size_t>(os::terminal_columns(2));
  print_error("\r\x1b[K" + text.substr(0, columns > 1 ? columns - 1 : columns));
  shown_ = true;
}

void ProgressLine::clear() {
  if (shown_) print_error("\r\x1b[K");
  shown_ = false;
}

}  // namespace cairn::cli
