// Cli: what every command has in common: which daemon, which output, how a call ends.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "apps/cairn/api_client.h"
#include "base/error_map.h"
#include "base/result.h"

namespace CLI {
class App;
}

namespace cairn::cli {

inline constexpr const char* kDefaultSocket = "/run/cairn/cairn.sock";

struct Cli {
  std::string socket = kDefaultSocket;
  bool json = false;
  // What the chosen command does; set while the command line is parsed.
  std::function<Exit(const Cli&)> action;

  [[nodiscard]] ApiClient client() const { return ApiClient(socket); }
};

// Turns a success into text for people.
using Render = std::function<std::string(const nlohmann::json&)>;

// Prints a failure: problem+json on standard output with --json, else sentences on standard error.
Exit fail(const Cli& cli, const Problem& problem);
// Prints a success and its warnings.
Exit succeed(const Cli& cli, const nlohmann::json& result, const Render& render);

// One call, whose answer is printed. An answer without a body is printed as `empty`.
Exit run(const Cli& cli, const Call& call, const Render& render, const nlohmann::json& empty);
Exit run(const Cli& cli, const Call& call, const Render& render);

// The answer of a call that must succeed, as JSON; an answer of a failure becomes its Problem.
struct Fetched {
  std::shared_ptr<const nlohmann::json> value;  // null where the call failed
  Exit exit = Exit::kOk;                        // of a failure, which has been printed
};
Fetched fetch(const Cli& cli, const Call& call);

// A long call: started as an operation, followed with progress on a terminal. Ctrl-C leaves it
// running and says how to look at it. title: "restore web".
Exit run_long(const Cli& cli, Call call, const std::string& title, const Render& render);
// Follows an operation that runs already.
Exit follow(const Cli& cli,
            const std::string& operation,
            const std::string& title,
            const Render& render);

// The typed confirmation of what destroys; without it nothing happens and the call was refused.
bool confirmed(const Cli& cli, bool yes, const std::string& question, const std::string& word);
Exit not_confirmed(const Cli& cli, const std::string& word);

// "PATH=TARGET" as --map takes it: at the last "=" before a slash, since a path may have one in it.
struct Mapping {
  std::string path;
  std::string target;
  bool operator==(const Mapping&) const = default;
};
std::optional<Mapping> parse_mapping(const std::string& text);

// The commands, by noun.
void add_workload(CLI::App& app, Cli& cli);
void add_volume(CLI::App& app, Cli& cli);
void add_registry(CLI::App& app, Cli& cli);
void add_snapshot(CLI::App& app, Cli& cli);
void add_archives(CLI::App& noun, Cli& cli);  // verbs of snapshot
void add_adopt(CLI::App& noun, Cli& cli);     // a verb of snapshot
void add_restore(CLI::App& app, Cli& cli);
void add_repo(CLI::App& app, Cli& cli);
void add_operation(CLI::App& app, Cli& cli);
void add_events(CLI::App& app, Cli& cli);
void add_system(CLI::App& app, Cli& cli);
void add_completion(CLI::App& app, Cli& cli);

}  // namespace cairn::cli
