// The daemon's configuration file (/etc/cairn/cairn.toml): TOML (toml.io, version 1.0). Unknown
// keys are refused, since a misspelt one would silently do nothing. Pure but for load_config.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/result.h"

namespace cairn::daemon {

struct Config {
  std::string data_dir = "/var/lib/cairn";
  std::string socket_path = "/run/cairn/cairn.sock";
  std::string docker = "unix:///var/run/docker.sock";
  log::Format log_format = log::Format::kText;
  log::Level log_level = log::Level::kInfo;
  // First values of settings, by key; what "cairn system settings set" sets wins.
  std::map<std::string, std::string> settings;
};

// kInvalid with a reason for each fault, whose target is the key.
Result<Config> parse_config(std::string_view text);
// The same for a file of at most 1 MiB.
Result<Config> load_config(const std::string& path);

Result<log::Format> parse_log_format(std::string_view text);
Result<log::Level> parse_log_level(std::string_view text);

}  // namespace cairn::daemon
