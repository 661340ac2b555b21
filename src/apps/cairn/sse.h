// Server-Sent Events from the pieces that a connection gives (WHATWG HTML, 9.2.6). Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace cairn::cli {

// One thread at a time.
class SseParser {
 public:
  // Takes bytes; passes each whole event on. False as soon as take returned false.
  bool feed(std::string_view bytes,
            const std::function<bool(std::string_view event, std::string_view data)>& take);

 private:
  bool line(std::string_view text,
            const std::function<bool(std::string_view event, std::string_view data)>& take);
  std::string pending_;
  std::string event_;
  std::string data_;
};

}  // namespace cairn::cli
