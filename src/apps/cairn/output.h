// What people see: tables, sizes, times, questions. Results go to standard output, everything else
// to standard error.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

// "1.5 GB" (powers of 1000); "900 B".
std::string human_bytes(std::uint64_t bytes);
// "1 h 02 min", "3 min 20 s", "12 s", "850 ms".
std::string human_ms(std::int64_t milliseconds);

// A member as text: texts as they are, numbers and booleans as JSON, "-" for what is missing or
// null. Control characters are made visible, so that no name can steer a terminal.
std::string cell(const nlohmann::json& record, std::string_view key);
std::string safe(std::string_view text);

// On one line. Bytes that are not UTF-8 are replaced.
std::string dump(const nlohmann::json& value);

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Columns are as wide as their widest cell; the last one is not padded.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "key: value" lines, aligned.
std::string facts(const std::vector<std::pair<std::string, std::string>>& rows);

void print(std::string_view text);
void print_error(std::string_view text);

// Asks on standard error for one line on standard input; true where it is the word.
bool confirm(std::string_view question, std::string_view word);

// Colours a state where standard output is a terminal and NO_COLOR is not set (no-color.org).
std::string state_colour(const std::string& state);

}  // namespace cairn::cli
