// cairn repo VERB, cairn operation VERB, cairn events VERB, cairn system VERB
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "net/http.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

std::string render_kit(const json& kit) {
  return "Keep this where the data is not. Whoever has it can read every snapshot.\n" +
         facts({{"repository", cell(kit, "repository")},
                {"password", cell(kit, "password")},
                {"sealing key", cell(kit, "sealing_key")}});
}

std::string render_operations(const json& result) {
  Table table({"ID", "KIND", "STATE", "PHASE", "BY", "STARTED", "FINISHED"});
  for (const json& item : result.value("operations", json::array())) {
    table.row({cell(item, "id"), cell(item, "kind"), cell(item, "state"), cell(item, "phase"),
               cell(item, "actor"), cell(item, "started_at"), cell(item, "finished_at")});
  }
  return table.text();
}

std::string render_operation(const json& operation) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"operation", cell(operation, "id")},
      {"kind", cell(operation, "kind")},
      {"state", cell(operation, "state")},
      {"phase", cell(operation, "phase")},
      {"by", cell(operation, "actor")},
      {"started", cell(operation, "started_at")},
      {"finished", cell(operation, "finished_at")}};
  if (const auto error = operation.find("error"); error != operation.end()) {
    rows.emplace_back("error", Problem(error->value("status", 500), dump(*error)).text());
  }
  if (const auto result = operation.find("result"); result != operation.end()) {
    rows.emplace_back("result", dump(*result));
  }
  return facts(rows);
}

std::string event_line(const json& event) {
  return cell(event, "time") + "  " + cell(event, "kind") + "  " + cell(event, "message") + "\n";
}

std::string render_events(const json& result) {
  std::string out;
  for (const json& event : result.value("events", json::array())) out += event_line(event);
  return out;
}

Exit follow_events(const Cli& cli, const std::string& query) {
  auto answer = cli.client().stream(
      {.target = "/api/events" + query}, {}, [&cli](std::string_view, std::string_view data) {
        const json event = json::parse(data, nullptr, false);
        if (event.is_object()) print(cli.json ? std::string(data) + "\n" : event_line(event));
        return true;
      });
  if (!answer.ok()) return fail(cli, Problem(answer.error()));
  if (!answer->ok()) return fail(cli, Problem(answer->status, answer->body));
  return Exit::kOk;
}

// Findings are a success of the call and a failure of the house.
Exit fsck(const Cli& cli) {
  const Fetched fetched = fetch(cli, {.target = "/api/system/fsck"});
  if (fetched.value == nullptr) return fetched.exit;
  const Exit shown = succeed(cli, *fetched.value, [](const json& result) {
    const json findings = result.value("findings", json::array());
    if (findings.empty()) return std::string("clean\n");
    Table table({"CODE", "SUBJECT", "DETAIL"});
    for (const json& finding : findings) {
      table.row({cell(finding, "code"), cell(finding, "subject"), cell(finding, "detail")});
    }
    return table.text();
  });
  return fetched.value->value("status", std::string()) == "clean" ? shown : Exit::kFailed;
}

std::string render_info(const json& info) {
  const json engine = info.value("engine", json::object());
  const json repository = info.value("repository", json::object());
  return facts({{"version", cell(info, "version")},
                {"data directory", cell(info, "data_dir")},
                {"socket", cell(info, "socket")},
                {"engine", cell(engine, "state") + "  " + cell(engine, "version") + "  " +
                               cell(engine, "socket")},
                {"repository", cell(repository, "location")},
                {"operations running", cell(info, "operations_running")},
                {"waiting for recovery", cell(info, "recovering")},
                {"started", cell(info, "started_at")}});
}

std::string render_settings(const json& result) {
  Table table({"KEY", "VALUE", "SOURCE", "DEFAULT", "WHAT IT IS"});
  for (const json& item : result.value("settings", json::array())) {
    table.row({cell(item, "key"), cell(item, "value"), cell(item, "source"), cell(item, "default"),
               cell(item, "help")});
  }
  return table.text();
}

std::string render_setting(const json& setting) {
  return cell(setting, "value") + "\n";
}

std::string render_audit(const json& result) {
  Table table({"TIME", "BY", "ACTION", "SUBJECT", "DETAIL"});
  for (const json& item : result.value("audit", json::array())) {
    table.row({cell(item, "time"), cell(item, "actor"), cell(item, "action"), cell(item, "subject"),
               cell(item, "detail")});
  }
  return table.text();
}

struct ListOptions {
  std::string workload;
  int limit = 50;

  [[nodiscard]] std::string query() const {
    std::string out = "?limit=" + std::to_string(limit);
    if (!workload.empty()) out += "&workload=" + net::url_encode(workload);
    return out;
  }
};

std::shared_ptr<ListOptions> add_list_options(CLI::App* verb) {
  auto options = std::make_shared<ListOptions>();
  verb->add_option("--workload", options->workload, "only those of a workload");
  verb->add_option("--limit", options->limit, "at most so many")->check(CLI::Range(1, 1000));
  return options;
}

void add_settings(CLI::App& system, Cli& cli) {
  CLI::App* noun = system.add_subcommand("settings", "The daemon's settings");
  noun->require_subcommand(1);
  noun->add_subcommand("ls", "List settings")->callback([&cli] {
    cli.action = [](const Cli& c) { return run(c, {.target = "/api/settings"}, render_settings); };
  });

  struct SettingOptions {
    std::string key;
    std::string value;
    [[nodiscard]] std::string path() const { return path_of("/api/settings", {key}); }
  };
  auto get = std::make_shared<SettingOptions>();
  CLI::App* verb = noun->add_subcommand("get", "Show one setting's value");
  verb->add_option("key", get->key)->required();
  verb->callback([&cli, get] {
    cli.action = [get](const Cli& c) { return run(c, {.target = get->path()}, render_setting); };
  });

  auto set = std::make_shared<SettingOptions>();
  verb = noun->add_subcommand("set", "Change a setting");
  verb->add_option("key", set->key)->required();
  verb->add_option("value", set->value)->required();
  verb->callback([&cli, set] {
    cli.action = [set](const Cli& c) {
      return run(c, {.method = "PUT", .target = set->path(), .body = dump({{"value", set->value}})},
                 render_setting);
    };
  });

  auto unset = std::make_shared<SettingOptions>();
  verb = noun->add_subcommand("unset", "Go back to the config file's value or the default");
  verb->add_option("key", unset->key)->required();
  verb->callback([&cli, unset] {
    cli.action = [unset](const Cli& c) {
      return run(
          c, {.method = "DELETE", .target = unset->path()},
          [](const json& result) { return cell(result, "key") + ": unset\n"; },
          json{{"status", "unset"}, {"key", unset->key}, {"warnings", json::array()}});
    };
  });
}

}  // namespace

void add_repo(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("repo", "Where snapshots are stored");
  noun->require_subcommand(1);
  CLI::App* key = noun->add_subcommand("key", "The repository's key");
  key->require_subcommand(1);
  key->add_subcommand("export", "Print the recovery kit; it opens all data")->callback([&cli] {
    cli.action = [](const Cli& c) {
      return run(c, {.method = "POST", .target = "/api/repository/key-export"}, render_kit);
    };
  });
}

void add_operation(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("operation", "Long-running actions");
  noun->require_subcommand(1);
  CLI::App* verb = noun->add_subcommand("ls", "List operations, newest first");
  auto listed = add_list_options(verb);
  verb->callback([&cli, listed] {
    cli.action = [listed](const Cli& c) {
      return run(c, {.target = "/api/operations" + listed->query()}, render_operations);
    };
  });

  const auto with_id = [noun](const char* word, const char* help) {
    auto id = std::make_shared<std::string>();
    CLI::App* sub = noun->add_subcommand(word, help);
    sub->add_option("operation", *id, "operation id")->required();
    return std::pair(sub, id);
  };
  auto [show, shown] = with_id("show", "Show one operation");
  show->callback([&cli, id = shown] {
    cli.action = [id](const Cli& c) {
      return run(c, {.target = path_of("/api/operations", {*id})}, render_operation);
    };
  });
  auto [watch, watched] = with_id("follow", "Follow an operation to its end");
  watch->callback([&cli, id = watched] {
    cli.action = [id](const Cli& c) {
      return follow(c, *id, *id, [id](const json& result) {
        return (result.empty() ? *id + ": done" : dump(result)) + "\n";
      });
    };
  });
  auto [cancel, cancelled] = with_id("cancel", "Ask an operation to stop");
  cancel->callback([&cli, id = cancelled] {
    cli.action = [id](const Cli& c) {
      return run(c, {.method = "DELETE", .target = path_of("/api/operations", {*id})},
                 render_operation);
    };
  });
}

void add_events(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("events", "What happened");
  noun->require_subcommand(1);
  CLI::App* verb = noun->add_subcommand("ls", "List the newest events");
  auto listed = add_list_options(verb);
  verb->callback([&cli, listed] {
    cli.action = [listed](const Cli& c) {
      return run(c, {.target = "/api/events" + listed->query()}, render_events);
    };
  });
  auto workload = std::make_shared<std::string>();
  verb = noun->add_subcommand("follow", "Show events as they happen");
  verb->add_option("--workload", *workload, "only those of a workload");
  verb->callback([&cli, workload] {
    cli.action = [workload](const Cli& c) {
      return follow_events(c, workload->empty() ? "" : "?workload=" + net::url_encode(*workload));
    };
  });
}

void add_system(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("system", "The daemon itself");
  noun->require_subcommand(1);
  noun->add_subcommand("info", "Show the daemon and the engine")->callback([&cli] {
    cli.action = [](const Cli& c) { return run(c, {.target = "/api/system/info"}, render_info); };
  });
  noun->add_subcommand("fsck", "Hold all that Cairn knows against what is there")->callback([&cli] {
    cli.action = fsck;
  });
  add_settings(*noun, cli);

  auto limit = std::make_shared<int>(100);
  CLI::App* audit = noun->add_subcommand("audit", "Show who changed what");
  audit->add_option("--limit", *limit, "at most so many")->check(CLI::Range(1, 1000));
  audit->callback([&cli, limit] {
    cli.action = [limit](const Cli& c) {
      return run(c, {.target = "/api/audit?limit=" + std::to_string(*limit)}, render_audit);
    };
  });
}

}  // namespace cairn::cli
