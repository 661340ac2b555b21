#include "counter.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

namespace cairn::crash {
namespace {

std::uint64_t number_of(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}

bool set_field(const std::string& word, Plan& plan) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos) return false;
  const std::string key = word.substr(0, equals);
  const std::string value = word.substr(equals + 1);
  if (key == "at")
    plan.at = number_of(value);
  else if (key == "after")
    plan.after = value == "1";
  else if (key == "errors-from")
    plan.full_from = number_of(value);
  else if (key == "do")
    return parse_action(value, plan);
  else
    return false;
  return true;
}

void answer_lines(int fd, Counter& counter) {
  std::string pending;
  char buffer[512];
  for (;;) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) break;
    pending.append(buffer, static_cast<std::size_t>(got));
    for (std::size_t end; (end = pending.find('\n')) != std::string::npos;) {
      const std::string reply = counter.command(pending.substr(0, end)) + "\n";
      pending.erase(0, end + 1);
      if (send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
    }
  }
  close(fd);
}

}  // namespace

bool parse_action(const std::string& text, Plan& plan) {
  constexpr struct {
    const char* name;
    int value;
  } kErrors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EROFS", EROFS}, {"EINTR", EINTR}};
  if (text == "kill")
    plan.action = Action::kKill;
  else if (text == "short")
    plan.action = Action::kShort;
  else if (text == "none")
    plan.action = Action::kNone;
  else if (text.starts_with("error=")) {
    const std::string name = text.substr(6);
    plan.action = Action::kError;
    plan.error = std::atoi(name.c_str());
    for (const auto& error : kErrors) {
      if (name == error.name) plan.error = error.value;
    }
    return plan.error > 0;
  } else {
    return false;
  }
  return true;
}

Decision Counter::next() {
  const std::lock_guard lock(mutex_);
  if (!armed_ || stopped_) return {};
  ++count_;
  Decision decision{.number = count_, .plan = plan_, .disk_full = false};
  if (count_ == plan_.at && plan_.action != Action::kNone) {
    fired_ = true;
  } else {
    decision.plan.action = Action::kNone;
  }
  decision.disk_full = plan_.full_from != 0 && count_ >= plan_.full_from;
  return decision;
}

void Counter::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

bool Counter::armed() const {
  const std::lock_guard lock(mutex_);
  return armed_ && !stopped_;
}

std::uint64_t Counter::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

std::string Counter::command(const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  const std::lock_guard lock(mutex_);
  if (verb == "arm") {
    armed_ = true;
    count_ = 0;
    fired_ = false;
  } else if (verb == "disarm") {
    armed_ = false;
  } else if (verb == "reset") {
    count_ = 0;
    fired_ = false;
  } else if (verb == "clear") {
    plan_ = Plan{};
  } else if (verb == "set") {
    Plan plan = plan_;
    for (std::string word; words >> word;) {
      if (!set_field(word, plan)) return "error bad field " + word;
    }
    plan_ = plan;
  } else if (verb != "count") {
    return "error unknown command";
  }
  return "ok count=" + std::to_string(count_) + " armed=" + (armed_ ? "1" : "0") +
         " fired=" + (fired_ ? "1" : "0");
}

int serve_control(const std::string& path, Counter& counter) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) return errno;
  unlink(path.c_str());
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 8) != 0) {
    return errno;
  }
  std::thread([listener, &counter] {
    for (;;) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) answer_lines(fd, counter);
    }
  }).detach();
  return 0;
}

}  // namespace cairn::crash
