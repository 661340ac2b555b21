// Settings of the daemon, in the catalog, each with a type, a range and a default. A value is the
// one that was set, else the config file's, else the built-in one.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

class Store;

inline constexpr std::string_view kSettingNetwork = "network";
inline constexpr std::string_view kSettingBaseVolumePath = "base_volume_path";
inline constexpr std::string_view kSettingAllowedVolumePaths = "allowed_volume_paths";
inline constexpr std::string_view kSettingStopGraceS = "stop_grace_s";
inline constexpr std::string_view kSettingHealthTimeoutS = "health_timeout_s";
inline constexpr std::string_view kSettingMaxHoldS = "max_hold_s";
inline constexpr std::string_view kSettingUndoKeep = "undo_keep";

inline constexpr std::size_t kSettingValueBytesMax = 16 * 1024;

// All settings in effect, typed.
struct Settings {
  std::string network = "cairn";
  std::string base_volume_path;                   // absolute; DATA/volumes by default
  std::vector<std::string> allowed_volume_paths;  // absolute
  std::int64_t stop_grace_s = 10;
  std::int64_t health_timeout_s = 120;
  std::int64_t max_hold_s = 10;
  std::int64_t undo_keep_s = 24 * 3600;
  bool operator==(const Settings&) const = default;
};

struct Setting {
  std::string key;
  std::string value;     // as text: paths separated by ":", durations like "24h"
  std::string source;    // "set", "config" or "default"
  std::string fallback;  // the value that unset would bring back
  std::string help;      // one line
  bool operator==(const Setting&) const = default;
};

// kInvalid with the rule unless value is one that the key takes; kNotFound for an unknown key.
Status check_setting(std::string_view key, std::string_view value);

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class SettingTable {
 public:
  explicit SettingTable(Store& store) : store_(store) {}

  // The config file's values, by key; called before the daemon serves. kInvalid names the key and
  // changes nothing; an unknown key is kInvalid here, since it comes from a file.
  Status set_config_values(const std::map<std::string, std::string>& values);

  // All values in effect.
  Result<Settings> all();
  Result<Setting> get(const std::string& key);                   // kNotFound for an unknown key
  Result<std::vector<Setting>> list();                           // in order of key
  Status set(const std::string& key, const std::string& value);  // kInvalid, kNotFound
  Status unset(const std::string& key);                          // kNotFound for an unknown key

 private:
  Store& store_;
  std::mutex mutex_;
  std::map<std::string, std::string> config_values_;  // guarded by mutex_
};

}  // namespace cairn::catalog
