#include "apps/cairnd/options.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "base/error_map.h"
#include "docker/client.h"

namespace cairn::daemon {

namespace {

constexpr int kUsage = static_cast<int>(Exit::kUsage);
constexpr int kFailed = static_cast<int>(Exit::kFailed);

struct Given {
  std::string config_file;
  std::string data_dir;
  std::string socket_path;
  std::string docker;
  std::string log_format;
  std::string log_level;
  std::string checked_file;
};

std::string absolute(const std::string& path) {
  std::string out = std::filesystem::absolute(path).lexically_normal().string();
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

Result<Config> merge(const Given& given) {
  Config config;
  if (!given.config_file.empty()) {
    TRY_ASSIGN(config, load_config(given.config_file));
  }
  if (!given.data_dir.empty()) config.data_dir = given.data_dir;
  if (!given.socket_path.empty()) config.socket_path = given.socket_path;
  if (!given.docker.empty()) config.docker = given.docker;
  if (!given.log_format.empty()) {
    TRY_ASSIGN(config.log_format, parse_log_format(given.log_format));
  }
  if (!given.log_level.empty()) {
    TRY_ASSIGN(config.log_level, parse_log_level(given.log_level));
  }
  config.data_dir = absolute(config.data_dir);
  config.socket_path = absolute(config.socket_path);
  TRY(docker::EngineClient::parse_address(config.docker));
  return config;
}

int check(const std::string& file) {
  auto config = load_config(file);
  if (config.ok()) {
    std::cout << file << ": ok\n";
    return 0;
  }
  std::cerr << "cairnd: " << config.error().message() << "\n";
  return kFailed;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Given given;
  CLI::App app("cairnd keeps container workloads running and their data recoverable.", "cairnd");
  app.set_version_flag("--version", std::string(CAIRN_VERSION));
  app.add_option("--data", given.data_dir, "data directory (/var/lib/cairn)")->type_name("DIR");
  app.add_option("--socket", given.socket_path, "Unix socket to serve (/run/cairn/cairn.sock)")
      ->type_name("PATH");
  app.add_option("--docker", given.docker, "the engine: unix:///PATH")->type_name("ADDRESS");
  app.add_option("--config", given.config_file, "configuration file")->type_name("FILE.toml");
  app.add_option("--log-format", given.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_option("--log-level", given.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  CLI::App* check_config = app.add_subcommand("check-config", "Check a configuration file");
  check_config->fallthrough();
  check_config->add_option("file", given.checked_file, "the file (or --config FILE.toml)");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool wanted = error.get_exit_code() == 0;
    (void)app.exit(error);
    return {.config = {}, .exit_code = wanted ? 0 : kUsage};
  }
  if (check_config->parsed()) {
    const std::string& file = given.checked_file.empty() ? given.config_file : given.checked_file;
    if (!file.empty()) return {.config = {}, .exit_code = check(file)};
    std::cerr << "cairnd: check-config needs a file: cairnd check-config FILE.toml\n";
    return {.config = {}, .exit_code = kUsage};
  }
  auto config = merge(given);
  if (!config.ok()) {
    std::cerr << "cairnd: " << config.error().message() << "\n";
    return {.config = {}, .exit_code = kFailed};
  }
  return {.config = std::move(config).value(), .exit_code = std::nullopt};
}

}  // namespace cairn::daemon
