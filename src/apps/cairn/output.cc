#include "apps/cairn/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "os/signals.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

// Code points, which is near enough to columns for names.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

std::string padded(const std::string& text, std::size_t columns) {
  const std::size_t used = width(text);
  return used < columns ? text + std::string(columns - used, ' ') : text;
}

bool colours() {
  const char* off = std::getenv("NO_COLOR");
  return (off == nullptr || off[0] == '\0') && os::is_terminal(1);
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits.at(unit));
}

std::string human_ms(std::int64_t milliseconds) {
  if (milliseconds < 1000) return fmt::format("{} ms", std::max<std::int64_t>(0, milliseconds));
  if (milliseconds < 10'000)
    return fmt::format("{:.1f} s", static_cast<double>(milliseconds) / 1e3);
  const std::int64_t seconds = (milliseconds + 500) / 1000;
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
}

std::string safe(std::string_view text) {
  constexpr std::size_t kCellBytesMax = 4096;
  return printable(text, kCellBytesMax);
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string cell(const json& record, std::string_view key) {
  const auto found = record.find(key);
  if (found == record.end() || found->is_null()) return "-";
  if (found->is_array() && found->empty()) return "-";
  if (found->is_string()) {
    const auto text = found->get<std::string>();
    return text.empty() ? "-" : safe(text);
  }
  return dump(*found);
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  widths.reserve(header_.size());
  for (const std::string& name : header_) widths.push_back(width(name));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  const auto line = [&out, &widths](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const bool last = i + 1 == cells.size();
      out += last ? state_colour(cells[i])
                  : state_colour(cells[i]) + padded("", widths[i] - width(cells[i])) + "  ";
    }
    out += "\n";
  };
  line(header_);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string facts(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t columns = 0;
  for (const auto& [key, value] : rows) columns = std::max(columns, width(key));
  std::string out;
  for (const auto& [key, value] : rows) {
    out += padded(key + ":", columns + 1) + "  " + state_colour(value) + "\n";
  }
  return out;
}

void print(std::string_view text) {
  std::cout << text << std::flush;
}

void print_error(std::string_view text) {
  std::cerr << text << std::flush;
}

bool confirm(std::string_view question, std::string_view word) {
  print_error(fmt::format("{}\nType {} to go on: ", question, word));
  std::string line;
  const bool answered = static_cast<bool>(std::getline(std::cin, line));
  if (!answered || !os::is_terminal(0))
    print_error("\n");  // a terminal shows the one that was typed
  return answered && trim(line) == word;
}

std::string state_colour(const std::string& state) {
  static constexpr std::array kGood = {"running", "done", "stored", "available", "healthy"};
  static constexpr std::array kBad = {"failed",      "degraded",   "unhealthy",
                                      "interrupted", "recovering", "unknown"};
  const auto one_of = [&state](const auto& words) {
    return std::find(words.begin(), words.end(), state) != words.end();
  };
  if (!one_of(kGood) && !one_of(kBad)) return state;
  if (!colours()) return state;
  return (one_of(kGood) ? "\x1b[32m" : "\x1b[31m") + state + "\x1b[0m";
}

}  // namespace cairn::cli
