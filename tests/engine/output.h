// What a container writes, as lines of a json-file log: {"log", "stream", "time"}, one JSON object
// each.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "os/fd.h"

namespace cairn::spawner {

// Now, as the engine writes times.
std::string time_text();

// The read end of one of its two pipes; `log` and `stream` must outlive it. One thread at a time.
class Output {
 public:
  Output(os::Fd pipe, const os::Fd& log, const char* stream)
      : pipe_(std::move(pipe)), log_(log), stream_(stream) {}

  // Moves what one read finds. False once the pipe has ended: its last line needs no line feed.
  bool pump();
  // Whether a read would find something, be it the end.
  [[nodiscard]] bool ready() const;
  [[nodiscard]] bool writes_to(const os::Fd& log) const { return &log == &log_; }

 private:
  [[nodiscard]] std::string record(std::string_view line) const;

  os::Fd pipe_;
  const os::Fd& log_;
  const char* stream_;
  std::string unfinished_;
};

}  // namespace cairn::spawner
