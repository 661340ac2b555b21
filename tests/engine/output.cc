#include "output.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace cairn::spawner {

namespace {

constexpr std::size_t kReadBytes = 65536;
std::array<char, kReadBytes> read_buffer;

}  // namespace

std::string time_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  std::array<char, 64> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text.data() + size, text.size() - size, ".%06ld000Z", now.tv_nsec / 1000);
  return text.data();
}

bool Output::pump() {
  const ssize_t size = read(pipe_.get(), read_buffer.data(), read_buffer.size());
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  unfinished_.append(read_buffer.data(), static_cast<std::size_t>(size));

  std::string records;
  std::size_t begin = 0;
  for (auto end = unfinished_.find('\n'); end != std::string::npos;
       end = unfinished_.find('\n', begin)) {
    records += record(std::string_view(unfinished_).substr(begin, end + 1 - begin));
    begin = end + 1;
  }
  unfinished_.erase(0, begin);
  if (size == 0 && !unfinished_.empty()) records += record(unfinished_);

  if (!records.empty() &&
      write(log_.get(), records.data(), records.size()) != static_cast<ssize_t>(records.size())) {
    std::perror("cairn_fake_spawner: log");
  }
  return size > 0;
}

bool Output::ready() const {
  pollfd item{.fd = pipe_.get(), .events = POLLIN, .revents = 0};
  return poll(&item, 1, 0) > 0;
}

std::string Output::record(std::string_view line) const {
  using nlohmann::json;
  const std::string quoted = json(line).dump(-1, ' ', true, json::error_handler_t::replace);
  return "{\"log\": " + quoted + ", \"stream\": \"" + stream_ + "\", \"time\": \"" + time_text() +
         "\"}\n";
}

}  // namespace cairn::spawner
