#include "apps/cairnd/config.h"

#include <toml++/toml.h>

#include "catalog/settings.h"
#include "os/dir.h"

namespace cairn::daemon {

namespace {

constexpr std::size_t kConfigBytesMax = std::size_t{1} << 20U;

class Reader {
 public:
  void fault(std::string key, std::string sentence) {
    faults_.push_back({.target = std::move(key), .code = "invalid", .detail = std::move(sentence)});
  }

  void text(const std::string& key, const toml::node& node, std::string& out) {
    if (const auto value = node.value<std::string>();
        node.is_string() && value.has_value() && !value->empty()) {
      out = *value;
    } else {
      fault(key, "must be a text");
    }
  }

  void path(const std::string& key, const toml::node& node, std::string& out) {
    text(key, node, out);
    if (out.empty() || out[0] != '/') fault(key, "must be an absolute path");
  }

  // A setting as the text that "settings set" takes: lists are joined with ":".
  void setting(const std::string& key, const toml::node& node, Config& config) {
    std::string value;
    if (node.is_string()) {
      value = *node.value<std::string>();
    } else if (node.is_integer()) {
      value = std::to_string(*node.value<std::int64_t>());
    } else if (const toml::array* list = node.as_array(); list != nullptr) {
      for (const toml::node& item : *list) {
        const auto text = item.value<std::string>();
        if (!item.is_string() || text->find(':') != std::string::npos) {
          return fault("settings." + key, "must hold paths without \":\"");
        }
        value += (value.empty() ? "" : ":") + *text;
      }
    } else {
      return fault("settings." + key, "must be a text, a whole number or a list of paths");
    }
    if (auto fits = catalog::check_setting(key, value); !fits.ok()) {
      return fault("settings." + key, fits.error().message());
    }
    config.settings[key] = std::move(value);
  }

  void log(const toml::node& node, Config& config) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return fault("log", "must be a table");
    for (const auto& [name, value] : *table) {
      const std::string key(name.str());
      std::string word;
      if (key != "format" && key != "level") {
        fault("log." + key, "is not known");
        continue;
      }
      text("log." + key, value, word);
      if (key == "format") {
        auto format = parse_log_format(word);
        if (!format.ok()) fault("log.format", format.error().message());
        config.log_format = format.value_or(config.log_format);
      } else {
        auto level = parse_log_level(word);
        if (!level.ok()) fault("log.level", level.error().message());
        config.log_level = level.value_or(config.log_level);
      }
    }
  }

  Result<Config> finish(Config config) {
    if (faults_.empty()) return config;
    std::string message;
    for (const Reason& reason : faults_) {
      message += (message.empty() ? "" : "; ") + reason.target + " " + reason.detail;
    }
    ErrorDetail detail;
    detail.reasons = std::move(faults_);
    return Error(Code::kInvalid, std::move(message), std::move(detail));
  }

 private:
  std::vector<Reason> faults_;
};

}  // namespace

Result<log::Format> parse_log_format(std::string_view text) {
  if (text == "text") return log::Format::kText;
  if (text == "json") return log::Format::kJson;
  return Error(Code::kInvalid, "must be text or json");
}

Result<log::Level> parse_log_level(std::string_view text) {
  if (text == "debug") return log::Level::kDebug;
  if (text == "info") return log::Level::kInfo;
  if (text == "warn") return log::Level::kWarn;
  if (text == "error") return log::Level::kError;
  return Error(Code::kInvalid, "must be debug, info, warn or error");
}

Result<Config> parse_config(std::string_view text) {
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& failure) {
    return Error(Code::kInvalid, "line " + std::to_string(failure.source().begin.line) + ": " +
                                     std::string(failure.description()));
  }
  Config config;
  Reader reader;
  for (const auto& [name, node] : root) {
    const std::string key(name.str());
    if (key == "data") {
      reader.path(key, node, config.data_dir);
    } else if (key == "socket") {
      reader.path(key, node, config.socket_path);
    } else if (key == "docker") {
      reader.text(key, node, config.docker);
    } else if (key == "log") {
      reader.log(node, config);
    } else if (key == "settings" && node.is_table()) {
      for (const auto& [setting, value] : *node.as_table()) {
        reader.setting(std::string(setting.str()), value, config);
      }
    } else {
      reader.fault(key, "is not known");
    }
  }
  return reader.finish(std::move(config));
}

Result<Config> load_config(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  auto dir = os::Dir::open(parent);
  if (!dir.ok()) return dir.error().with_context("read " + path);
  auto text = dir->read_file(name, kConfigBytesMax);
  if (!text.ok()) return text.error().with_context("read " + path);
  auto config = parse_config(*text);
  if (!config.ok()) return config.error().with_context(path);
  return config;
}

}  // namespace cairn::daemon
