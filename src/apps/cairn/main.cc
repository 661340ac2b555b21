// cairn: the command line. It talks to cairnd over its API and knows nothing else.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"

namespace {

using cairn::Exit;
using cairn::cli::Cli;

// A wrong command line with --json is answered in the form that every other failure has.
int usage_error(const CLI::App& app, const CLI::ParseError& error, bool json) {
  if (error.get_exit_code() == 0) return app.exit(error);
  // The library says that a subcommand is missing where the one that is there is unknown.
  const auto rest = app.remaining(true);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && !rest.empty()) {
    cairn::cli::print_error("cairn: there is no command " + cairn::cli::safe(rest[0]) + "\n");
  }
  (void)app.exit(error, std::cerr, std::cerr);
  if (json) {
    const cairn::Error wrong(cairn::Code::kInvalid, std::string("command line: ") + error.what());
    (void)cairn::cli::fail(Cli{.socket = {}, .json = true, .action = {}},
                           cairn::cli::Problem(wrong));
  }
  return static_cast<int>(Exit::kUsage);
}

int run(int argc, char** argv) {
  CLI::App app("Cairn runs container workloads and lets their owner go back.", "cairn");
  Cli cli;
  app.fallthrough();
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(CAIRN_VERSION));
  app.add_option("--socket", cli.socket, "the daemon's Unix socket")
      ->envname("CAIRN_SOCKET")
      ->type_name("PATH");
  app.add_flag("--json", cli.json, "print JSON");

  add_workload(app, cli);
  add_volume(app, cli);
  add_registry(app, cli);
  add_snapshot(app, cli);
  add_restore(app, cli);
  add_repo(app, cli);
  add_operation(app, cli);
  add_events(app, cli);
  add_system(app, cli);
  add_completion(app, cli);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error, cli.json);
  }
  return static_cast<int>(cli.action(cli));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    cairn::cli::print_error(std::string("cairn: ") + failure.what() + "\n");
    return static_cast<int>(Exit::kFailed);
  }
}
