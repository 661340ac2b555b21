#include "apps/cairn/sse.h"

namespace cairn::cli {

bool SseParser::feed(std::string_view bytes,
                     const std::function<bool(std::string_view, std::string_view)>& take) {
  pending_.append(bytes);
  std::size_t begin = 0;
  for (std::size_t end = pending_.find('\n'); end != std::string::npos;
       end = pending_.find('\n', begin)) {
    if (!line(std::string_view(pending_).substr(begin, end - begin), take)) return false;
    begin = end + 1;
  }
  pending_.erase(0, begin);
  return true;
}

bool SseParser::line(std::string_view text,
                     const std::function<bool(std::string_view, std::string_view)>& take) {
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  if (text.empty()) {
    const bool go_on = data_.empty() || take(event_.empty() ? "message" : event_, data_);
    event_.clear();
    data_.clear();
    return go_on;
  }
  const std::size_t colon = text.find(':');
  const std::string_view field = text.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  if (field == "event") event_ = value;
  if (field == "data") {
    if (!data_.empty()) data_ += '\n';
    data_ += value;
  }
  return true;
}

}  // namespace cairn::cli
