// How an engine tells what it is doing. Implemented by operations (catalog), by tests and by
// nobody.
#pragma once

#include <cstdint>
#include <string_view>

namespace cairn {

// Thread-safe: called from any thread of an engine; calls must not block for long.
class Progress {
 public:
  virtual ~Progress() = default;
  // A new phase begins: "stage", "quiesce", "exchange", ...
  virtual void phase(std::string_view name) = 0;
  // How far the phase is, in bytes and items; totals of 0 are unknown.
  struct Count {
    std::uint64_t bytes_done = 0;
    std::uint64_t bytes_total = 0;
    std::uint64_t items_done = 0;
    std::uint64_t items_total = 0;
  };
  virtual void count(const Count& count) = 0;
  // A sentence for people that does not fail the operation.
  virtual void warn(std::string_view text) = 0;
};

class NoProgress final : public Progress {
 public:
  void phase(std::string_view) override {}
  void count(const Count&) override {}
  void warn(std::string_view) override {}
};

}  // namespace cairn
