#include "catalog/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/clock.h"
#include "base/strings.h"
#include "catalog/store.h"

namespace cairn::catalog {

namespace {

constexpr std::int64_t kSecondsPerDay = 24 * 3600;
constexpr std::int64_t kUndoKeepSecondsMax = 3650 * kSecondsPerDay;
constexpr std::size_t kNetworkNameBytesMax = 128;
constexpr std::size_t kPathBytesMax = 4095;  // PATH_MAX without its NUL

Error invalid(std::string_view key, std::string_view rule) {
  return {Code::kInvalid, fmt::format("setting {}: {}", key, rule)};
}

// What a Docker network may be called; the built-in ones give containers no aliases.
Status check_network(std::string_view key, std::string_view value) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool well_formed =
      !value.empty() && value.size() <= kNetworkNameBytesMax && is_plain(value.front()) &&
      std::all_of(value.begin(), value.end(),
                  [&is_plain](char c) { return is_plain(c) || c == '_' || c == '.' || c == '-'; });
  if (!well_formed) {
    return invalid(key, "a network's name has letters, digits, \"_\", \".\", \"-\", at most 128");
  }
  for (const std::string_view builtin : {"bridge", "default", "host", "none"}) {
    if (value == builtin) return invalid(key, "must be a network of its own, not a built-in one");
  }
  return {};
}

Status check_path(std::string_view key, std::string_view path) {
  if (path.empty() || path.front() != '/' || path.size() > kPathBytesMax || !is_utf8(path)) {
    return invalid(key, "must be an absolute path");
  }
  for (const std::string& component : split(path.substr(1), '/')) {
    if (component == "." || component == "..") {
      return invalid(key, "a path must not contain \".\" or \"..\"");
    }
  }
  const bool has_control = std::any_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (has_control) return invalid(key, "a path must not contain control characters");
  return {};
}

Status check_paths(std::string_view key, std::string_view value) {
  if (value.empty()) return {};
  for (const std::string& path : split(value, ':')) TRY(check_path(key, path));
  return {};
}

template <std::int64_t kMin, std::int64_t kMax>
Status check_seconds(std::string_view key, std::string_view value) {
  const auto seconds = parse_uint(value);
  if (!seconds || *seconds < static_cast<std::uint64_t>(kMin) ||
      *seconds > static_cast<std::uint64_t>(kMax)) {
    return invalid(key, fmt::format("must be whole seconds from {} to {}", kMin, kMax));
  }
  return {};
}

Status check_duration(std::string_view key, std::string_view value) {
  const auto seconds = parse_duration_s(value);
  if (!seconds || *seconds < 1 || *seconds > kUndoKeepSecondsMax) {
    return invalid(key, "must be a duration like 24h, 30m, 90s or 7d, at most 3650d");
  }
  return {};
}

struct Key {
  std::string_view name;
  std::string_view fallback;
  std::string_view help;
  Status (*check)(std::string_view key, std::string_view value);
};

// In order of name. base_volume_path's fallback depends on the data directory.
constexpr std::array kKeys = {
    Key{kSettingAllowedVolumePaths, "",
        "host paths that absolute volumes may lie in, separated by \":\"", check_paths},
    Key{kSettingBaseVolumePath, "", "where stage and project volumes are made", check_path},
    Key{kSettingHealthTimeoutS, "120",
        "seconds until a container that is not healthy counts as failed",
        check_seconds<1, kSecondsPerDay>},
    Key{kSettingMaxHoldS, "10", "the longest pause of a capture, in seconds",
        check_seconds<1, 3600>},
    Key{kSettingNetwork, "cairn", "the Docker network of the workloads", check_network},
    Key{kSettingStopGraceS, "10", "seconds between a container's stop signal and its kill",
        check_seconds<0, 3600>},
    Key{kSettingUndoKeep, "24h", "how long the undo of a restore is kept", check_duration},
};

const Key* find_key(std::string_view name) {
  for (const Key& key : kKeys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

Error unknown_key(std::string_view name) {
  return {Code::kNotFound, fmt::format("there is no setting {}", printable(name))};
}

struct StoredValue {
  std::string key;
  std::string value;
};

Result<StoredValue> decode_setting(const sqlite::Statement& row) {
  return StoredValue{.key = row.text(0), .value = row.text(1)};
}

}  // namespace

Status check_setting(std::string_view key, std::string_view value) {
  const Key* known = find_key(key);
  if (known == nullptr) return unknown_key(key);
  if (value.size() > kSettingValueBytesMax) return invalid(key, "the value is too long");
  return known->check(key, value);
}

Status SettingTable::set_config_values(const std::map<std::string, std::string>& values) {
  for (const auto& [key, value] : values) {
    const Status status = check_setting(key, value);
    if (!status.ok()) return status.error().with_code(Code::kInvalid);
  }
  const std::lock_guard lock(mutex_);
  config_values_ = values;
  return {};
}

Result<std::vector<Setting>> SettingTable::list() {
  std::map<std::string, std::string> config_values;
  {
    const std::lock_guard lock(mutex_);
    config_values = config_values_;
  }
  std::vector<StoredValue> stored;
  {
    auto database = store_.lock();
    TRY_ASSIGN(stored,
               database->all<StoredValue>("SELECT key, value FROM settings", {}, decode_setting));
  }
  std::vector<Setting> settings;
  for (const Key& key : kKeys) {
    Setting setting{.key = std::string(key.name),
                    .value = {},
                    .source = "default",
                    .fallback = std::string(key.fallback),
                    .help = std::string(key.help)};
    if (key.name == kSettingBaseVolumePath) {
      setting.fallback = fmt::format("{}/volumes", store_.data_directory());
    }
    if (const auto at = config_values.find(setting.key); at != config_values.end()) {
      setting.source = "config";
      setting.fallback = at->second;
    }
    setting.value = setting.fallback;
    for (const StoredValue& row : stored) {
      if (row.key != key.name) continue;
      setting.source = "set";
      setting.value = row.value;
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

Result<Setting> SettingTable::get(const std::string& key) {
  TRY_ASSIGN(auto settings, list());
  for (Setting& setting : settings) {
    if (setting.key == key) return std::move(setting);
  }
  return unknown_key(key);
}

Result<Settings> SettingTable::all() {
  TRY_ASSIGN(const auto list_now, list());
  Settings settings;
  for (const Setting& setting : list_now) {
    // A value that a newer or older Cairn accepted may not be one for this one.
    TRY_CONTEXT(check_setting(setting.key, setting.value), "the catalog's settings");
    const auto seconds = static_cast<std::int64_t>(parse_uint(setting.value).value_or(0));
    if (setting.key == kSettingNetwork) settings.network = setting.value;
    if (setting.key == kSettingBaseVolumePath) settings.base_volume_path = setting.value;
    if (setting.key == kSettingAllowedVolumePaths && !setting.value.empty()) {
      settings.allowed_volume_paths = split(setting.value, ':');
    }
    if (setting.key == kSettingStopGraceS) settings.stop_grace_s = seconds;
    if (setting.key == kSettingHealthTimeoutS) settings.health_timeout_s = seconds;
    if (setting.key == kSettingMaxHoldS) settings.max_hold_s = seconds;
    if (setting.key == kSettingUndoKeep) {
      settings.undo_keep_s = parse_duration_s(setting.value).value_or(settings.undo_keep_s);
    }
  }
  return settings;
}

Status SettingTable::set(const std::string& key, const std::string& value) {
  TRY(check_setting(key, value));
  auto database = store_.lock();
  TRY(
      database->run("INSERT INTO settings (key, value, updated_ms) VALUES (?, ?, ?) "
                    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
                    "updated_ms = excluded.updated_ms",
                    {key, value, wall_ms()}));
  return {};
}

Status SettingTable::unset(const std::string& key) {
  if (find_key(key) == nullptr) return unknown_key(key);
  auto database = store_.lock();
  TRY(database->run("DELETE FROM settings WHERE key = ?", {key}));
  return {};
}

}  // namespace cairn::catalog
