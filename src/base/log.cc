#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

namespace cairn::log {

namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// Set once before threads start, read by all after.
bool json_lines = false;

std::string json_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::shared_ptr<spdlog::logger> make_logger(Format format, Level level) {
  auto logger =
      std::make_shared<spdlog::logger>("cairn", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(format == Format::kJson
                          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":"%v"})"
                          : "%Y-%m-%dT%H:%M:%S.%eZ %-7l %v",
                      spdlog::pattern_time_type::utc);
  logger->set_level(to_spdlog(level));
  logger->flush_on(spdlog::level::debug);
  return logger;
}

// Not spdlog's default one: that is made within the library by whichever thread logs first, where
// ThreadSanitizer does not see what keeps it from the others. Replaced by setup() only.
std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> made = make_logger(Format::kText, Level::kInfo);
  return made;
}

}  // namespace

void setup(Format format, Level level) {
  json_lines = format == Format::kJson;
  logger() = make_logger(format, level);
}

void write(Level level, std::string_view message) {
  if (json_lines) {
    logger()->log(to_spdlog(level), json_escape(message));
  } else {
    logger()->log(to_spdlog(level), message);
  }
}

}  // namespace cairn::log
