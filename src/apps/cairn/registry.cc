// cairn registry VERB
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "os/signals.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

// As long as the daemon takes one.
constexpr std::size_t kPasswordBytesMax = std::size_t{16} << 10U;

std::string render_registries(const json& result) {
  Table table({"NAME", "URL", "USER", "CHANGED", "WORKLOADS"});
  for (const json& item : result.value("registries", json::array())) {
    std::string workloads;
    for (const json& name : item.value("workloads", json::array())) {
      workloads += (workloads.empty() ? "" : " ") + safe(name.get<std::string>());
    }
    table.row({cell(item, "name"), cell(item, "url"), cell(item, "user"), cell(item, "updated_at"),
               workloads.empty() ? "-" : workloads});
  }
  return table.text();
}

struct RegistryOptions {
  std::string name;
  std::string url;
  std::string user;
  bool password_stdin = false;

  [[nodiscard]] std::string path() const { return path_of("/api/registries", {name}); }
};

// All of standard input without the end of its line, or what is typed unseen. Never an argument:
// those can be read by everybody on the machine.
Result<std::string> read_password(const RegistryOptions& options) {
  if (!options.password_stdin) {
    if (!os::is_terminal(0)) {
      return Error(Code::kInvalid,
                   "standard input is no terminal: pass the password with --password-stdin");
    }
    auto typed = os::read_hidden_line(
        safe("Password of " + options.user + " at " + options.url + ": "), kPasswordBytesMax);
    print_error("\n");
    return typed;
  }
  std::string text(kPasswordBytesMax + 2, '\0');
  std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::cin.gcount()));
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Exit set(const Cli& cli, const RegistryOptions& options) {
  const auto password = read_password(options);
  if (!password.ok()) return fail(cli, Problem(password.error()));
  const json body = {{"url", options.url}, {"user", options.user}, {"password", *password}};
  return run(cli, {.method = "PUT", .target = options.path(), .body = dump(body)},
             [](const json& result) {
               return "registry " + cell(result, "name") + ": " + cell(result, "url") + " as " +
                      cell(result, "user") + "\n";
             });
}

}  // namespace

void add_registry(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("registry", "Registries that ask for a login");
  noun->require_subcommand(1);

  noun->add_subcommand("ls", "List registries, without passwords")->callback([&cli] {
    cli.action = [](const Cli& c) {
      return run(c, {.target = "/api/registries"}, render_registries);
    };
  });

  auto stored = std::make_shared<RegistryOptions>();
  CLI::App* verb = noun->add_subcommand("set", "Store a registry and its login, or replace it");
  verb->add_option("name", stored->name, "what config.registry_name says")->required();
  verb->add_option("--url", stored->url, "HOST or HOST:PORT")->required();
  verb->add_option("--user", stored->user, "who logs in")->required();
  verb->add_flag("--password-stdin", stored->password_stdin,
                 "read the password or token from standard input instead of asking for it");
  verb->callback(
      [&cli, stored] { cli.action = [stored](const Cli& c) { return set(c, *stored); }; });

  auto removed = std::make_shared<RegistryOptions>();
  verb = noun->add_subcommand("rm", "Forget a registry that no workload names");
  verb->add_option("name", removed->name)->required();
  verb->callback([&cli, removed] {
    cli.action = [removed](const Cli& c) {
      return run(
          c, {.method = "DELETE", .target = removed->path()},
          [](const json& result) { return "registry " + cell(result, "name") + ": removed\n"; },
          json{{"status", "removed"}, {"name", removed->name}, {"warnings", json::array()}});
    };
  });
}

}  // namespace cairn::cli
