#include "docker/engine.h"

#include <array>
#include <deque>

namespace cairn::docker {

namespace {

constexpr std::size_t kTailLineBytesMax = 4096;  // of one line; the rest of it is dropped

// Cuts both streams into lines and keeps the last ones.
class Tail {
 public:
  explicit Tail(std::uint32_t lines_max) : lines_max_(lines_max) {}

  void add(Stream stream, std::string_view bytes) {
    std::string& open = open_[stream == Stream::kErr ? 1 : 0];
    while (!bytes.empty()) {
      auto end = bytes.find('\n');
      std::string_view part = bytes.substr(0, end);
      if (open.size() < kTailLineBytesMax) open += part.substr(0, kTailLineBytesMax - open.size());
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      close(open);
    }
  }

  std::vector<std::string> take() {
    for (std::string& open : open_) {
      if (!open.empty()) close(open);
    }
    return {lines_.begin(), lines_.end()};
  }

 private:
  void close(std::string& open) {
    if (open.ends_with('\r')) open.pop_back();
    lines_.push_back(std::move(open));
    open.clear();
    if (lines_.size() > lines_max_) lines_.pop_front();
  }

  std::size_t lines_max_;
  std::array<std::string, 2> open_;
  std::deque<std::string> lines_;
};

}  // namespace

Result<Container> get_container(Engine& engine, const std::string& id) {
  TRY_ASSIGN(std::optional<Container> found, engine.find_container(id));
  if (!found) return Error(Code::kNotFound, "no container " + id);
  return std::move(*found);
}

Result<std::vector<std::string>> log_tail(Engine& engine,
                                          const std::string& id,
                                          std::uint32_t lines) {
  Tail tail(lines);
  TRY(engine.logs(id, {.tail = lines, .follow = false, .timestamps = false, .since_ms = 0},
                  [&tail](Stream stream, std::string_view bytes) {
                    tail.add(stream, bytes);
                    return true;
                  },
                  {}));
  return tail.take();
}

bool can_never_start(const Error& error) {
  const std::string_view words = error.message();
  const auto says = [words](std::string_view part) {
    return words.find(part) != std::string_view::npos;
  };
  const bool has_task = says("task ") && words.ends_with(": already exists");
  const bool has_bundle = says("mkdir ") && says("runtime.v2.task/") && says("file exists");
  return has_task || has_bundle;
}

bool cannot_freeze_yet(const Error& error) {
  const std::string_view words = error.message();
  return words.find("unable to freeze") != std::string_view::npos ||
         words.find("waiting for the cgroup to freeze") != std::string_view::npos;
}

}  // namespace cairn::docker
