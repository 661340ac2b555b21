// cairn workload VERB, cairn volume VERB
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "base/strings.h"
#include "net/http.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

constexpr std::size_t kDefinitionBytesMax = std::size_t{1} << 20U;

std::string workload_path(const std::string& name, std::string_view rest = "") {
  return path_of("/api/workloads", {name}) + std::string(rest);
}

std::string short_digest(const json& release) {
  constexpr std::size_t kShown = 19;  // "sha256:" and twelve digits
  return cell(release, "digest").substr(0, kShown);
}

std::string release_line(const json& workload) {
  const auto release = workload.find("release");
  if (release == workload.end() || !release->is_object()) return "-";
  return cell(*release, "image") + ":" + cell(*release, "tag");
}

std::string render_workloads(const json& result) {
  Table table({"NAME", "STATE", "DESIRED", "RELEASE", "GENERATION", "ID"});
  for (const json& item : result.value("workloads", json::array())) {
    table.row({cell(item, "name"), cell(item, "state"), cell(item, "desired"), release_line(item),
               cell(item, "data_generation"), cell(item, "id")});
  }
  return table.text();
}

std::string render_volumes(const json& result) {
  Table table({"TARGET", "SCOPE", "SOURCE", "ORIGIN", "PLACE", "PROBLEM"});
  for (const json& item : result.value("volumes", json::array())) {
    table.row({cell(item, "target"), cell(item, "scope"), cell(item, "source"),
               cell(item, "origin"), cell(item, "place"), cell(item, "problem")});
  }
  return table.text();
}

std::string render_workload(const json& workload) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"name", cell(workload, "name")},      {"id", cell(workload, "id")},
      {"state", cell(workload, "state")},    {"desired", cell(workload, "desired")},
      {"held by", cell(workload, "holder")}, {"data generation", cell(workload, "data_generation")},
      {"release", release_line(workload)}};
  if (const auto release = workload.find("release");
      release != workload.end() && release->is_object()) {
    rows.emplace_back("digest", cell(*release, "digest"));
    rows.emplace_back("deployed", cell(*release, "created_at"));
  }
  for (const json& instance : workload.value("instances", json::array())) {
    rows.emplace_back("container", cell(instance, "container_name") + " (" +
                                       cell(instance, "state") + ", " + cell(instance, "health") +
                                       ")");
  }
  for (const json& volume : workload.value("volumes", json::array())) {
    rows.emplace_back("volume", cell(volume, "target") + " <- " + cell(volume, "scope") + " " +
                                    cell(volume, "source"));
  }
  rows.emplace_back("config", dump(workload.value("config", json::object())));
  return facts(rows);
}

std::string render_applied(const json& workload) {
  return cell(workload, "name") + ": " + cell(workload, "status") + "\n";
}

std::string render_deployed(const json& result) {
  const json release = result.value("release", json::object());
  return fmt::format("{} {} ({}) in {}, held for {}\n", cell(result, "status"),
                     cell(release, "image") + ":" + cell(release, "tag"), short_digest(release),
                     human_ms(result.value("total_ms", std::int64_t{0})),
                     human_ms(result.value("hold_ms", std::int64_t{0})));
}

std::string render_done(const json& result) {
  return cell(result, "name") + ": " + cell(result, "status") + "\n";
}

// TOML where the name or the first character says so; the daemon parses and checks.
Result<Call> definition_call(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream in(file, std::ios::binary);
    if (!in) return Error(Code::kNotFound, "cannot read " + file);
    text.assign(std::istreambuf_iterator<char>(in), {});
    if (in.bad()) return Error(Code::kInvalid, "cannot read " + file);
  }
  if (text.size() > kDefinitionBytesMax) {
    return Error(Code::kInvalid, file + " is larger than 1 MiB");
  }
  const bool toml = file.ends_with(".toml");
  const std::string_view content = trim(text);
  const bool looks_json = file.ends_with(".json") || content.starts_with('{');
  return Call{.method = "POST",
              .target = "/api/workloads",
              .body = std::move(text),
              .content_type = toml || !looks_json ? "application/toml" : "application/json",
              .headers = {}};
}

struct WorkloadOptions {
  std::string name;
  std::string file;
  std::string tag;
  std::vector<std::string> allow_anonymous;
  std::vector<std::string> fresh_volumes;
  bool force = false;
  bool wait = false;
  bool yes = false;
};

Exit remove(const Cli& cli, const WorkloadOptions& options) {
  const Fetched found = fetch(cli, {.target = workload_path(options.name)});
  if (found.value == nullptr) return found.exit;
  const std::string name = found.value->value("name", options.name);
  const std::string question = "This removes the containers and the definition of workload " +
                               name + ". Its volumes, snapshots and undos stay.";
  if (!confirmed(cli, options.yes, question, name)) return not_confirmed(cli, name);
  // The id, not the name: nothing else may take the name meanwhile.
  const std::string id = found.value->value("id", std::string());
  return run_long(cli,
                  {.method = "DELETE",
                   .target = workload_path(id, options.wait ? "?wait=1" : ""),
                   .headers = {{"X-Confirm-Remove", id}}},
                  "remove " + name, render_done);
}

Exit logs(const Cli& cli, const std::string& name, bool follow, bool timestamps, int tail) {
  std::string query = follow ? "follow=1" : "follow=0";
  if (timestamps) query += "&timestamps=1";
  if (tail >= 0) query += "&tail=" + std::to_string(tail);
  const Call call{.target = workload_path(name, "/logs?" + query)};
  if (cli.json && !follow) return run(cli, call, [](const json&) { return std::string(); });

  std::string failed;
  auto answer =
      cli.client().stream(call, {}, [&cli, &failed](std::string_view event, std::string_view data) {
        if (event == "error") failed = data;
        if (event != "log") return event != "end" && event != "error";
        const json line = json::parse(data, nullptr, false);
        if (!line.is_object()) return true;
        // Log lines are the workload's own bytes: a log is where its colours belong.
        const std::string text =
            (cli.json ? std::string(data) : line.value("text", std::string())) + "\n";
        if (cli.json || line.value("stream", std::string()) != "stderr") {
          print(text);
        } else {
          print_error(text);
        }
        return true;
      });
  if (!answer.ok()) return fail(cli, Problem(answer.error()));
  if (!answer->ok()) return fail(cli, Problem(answer->status, answer->body));
  if (failed.empty()) return Exit::kOk;
  const json problem = json::parse(failed, nullptr, false);
  return fail(cli, Problem(problem.is_object() ? problem.value("status", 500) : 500, failed));
}

void add_logs(CLI::App& noun, Cli& cli) {
  struct LogOptions {
    std::string name;
    bool follow = false;
    bool timestamps = false;
    int tail = -1;
  };
  auto options = std::make_shared<LogOptions>();
  CLI::App* verb = noun.add_subcommand("logs", "Show the newest container's output");
  verb->add_option("name", options->name, "name or id")->required();
  verb->add_flag("-f,--follow", options->follow, "go on with what comes");
  verb->add_flag("-t,--timestamps", options->timestamps, "put the time before each line");
  verb->add_option("-n,--tail", options->tail, "only so many last lines")
      ->check(CLI::Range(0, 10'000));
  verb->callback([&cli, options] {
    cli.action = [options](const Cli& c) {
      return logs(c, options->name, options->follow, options->timestamps, options->tail);
    };
  });
}

void add_start_stop(CLI::App& noun, Cli& cli, const std::string& word, const std::string& help) {
  auto options = std::make_shared<WorkloadOptions>();
  CLI::App* verb = noun.add_subcommand(word, help);
  verb->add_option("name", options->name, "name or id")->required();
  verb->add_flag("--wait", options->wait, "wait while somebody else holds the workload");
  verb->callback([&cli, options, word] {
    cli.action = [options, word](const Cli& c) {
      return run_long(c,
                      {.method = "POST",
                       .target = workload_path(options->name, "/" + word),
                       .body = json{{"wait", options->wait}}.dump()},
                      word + " " + options->name, render_done);
    };
  });
}

void add_deploy(CLI::App& noun, Cli& cli) {
  auto options = std::make_shared<WorkloadOptions>();
  CLI::App* verb = noun.add_subcommand("deploy", "Bring a workload to an image");
  verb->add_option("name", options->name, "name or id")->required();
  verb->add_option("--tag", options->tag, "a tag or sha256:... instead of the default tag");
  verb->add_flag("--force", options->force, "deploy also when nothing changed");
  verb->add_option("--allow-anonymous", options->allow_anonymous,
                   "a VOLUME of the image that the config need not declare; may be repeated")
      ->allow_extra_args(false)
      ->type_name("PATH");
  verb->add_option("--fresh-volume", options->fresh_volumes,
                   "a volume that may begin empty; may be repeated")
      ->allow_extra_args(false)
      ->type_name("TARGET");
  verb->add_flag("--wait", options->wait, "wait while somebody else holds the workload");
  verb->callback([&cli, options] {
    cli.action = [options](const Cli& c) {
      json body = {{"force", options->force}, {"wait", options->wait}};
      if (!options->tag.empty()) body["tag"] = options->tag;
      if (!options->allow_anonymous.empty()) body["allow_anonymous"] = options->allow_anonymous;
      if (!options->fresh_volumes.empty()) body["fresh_volumes"] = options->fresh_volumes;
      return run_long(
          c,
          {.method = "POST", .target = workload_path(options->name, "/deploy"), .body = dump(body)},
          "deploy " + options->name, render_deployed);
    };
  });
}

}  // namespace

void add_workload(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("workload", "What Cairn keeps running");
  noun->require_subcommand(1);

  auto apply = std::make_shared<WorkloadOptions>();
  CLI::App* verb = noun->add_subcommand("apply", "Make a workload or replace its definition");
  verb->add_option("-f,--file", apply->file, "JSON or TOML; - is standard input")->required();
  verb->callback([&cli, apply] {
    cli.action = [apply](const Cli& c) {
      auto call = definition_call(apply->file);
      if (!call.ok()) return fail(c, Problem(call.error()));
      return run(c, *call, render_applied);
    };
  });

  noun->add_subcommand("ls", "List workloads")->callback([&cli] {
    cli.action = [](const Cli& c) {
      return run(c, {.target = "/api/workloads"}, render_workloads);
    };
  });

  auto show = std::make_shared<WorkloadOptions>();
  verb = noun->add_subcommand("show", "Show one workload");
  verb->add_option("name", show->name, "name or id")->required();
  verb->callback([&cli, show] {
    cli.action = [show](const Cli& c) {
      return run(c, {.target = workload_path(show->name)}, render_workload);
    };
  });

  add_deploy(*noun, cli);
  add_start_stop(*noun, cli, "stop", "Stop a workload and keep it stopped");
  add_start_stop(*noun, cli, "start", "Run a workload's current release again");

  auto rm = std::make_shared<WorkloadOptions>();
  verb = noun->add_subcommand("rm", "Remove a workload; volumes, snapshots and undos stay");
  verb->add_option("name", rm->name, "name or id")->required();
  verb->add_flag("-y,--yes", rm->yes, "do not ask");
  verb->add_flag("--wait", rm->wait, "wait while somebody else holds the workload");
  verb->callback([&cli, rm] { cli.action = [rm](const Cli& c) { return remove(c, *rm); }; });

  add_logs(*noun, cli);
}

void add_volume(CLI::App& app, Cli& cli) {
  struct VolumeOptions {
    std::string workload;
    std::string target;
    std::string scope;
    std::string source;
    std::string name;
  };
  CLI::App* noun = app.add_subcommand("volume", "The data mounts of a workload");
  noun->require_subcommand(1);

  auto ls = std::make_shared<VolumeOptions>();
  CLI::App* verb = noun->add_subcommand("ls", "List a workload's volumes in effect");
  verb->add_option("workload", ls->workload, "name or id")->required();
  verb->callback([&cli, ls] {
    cli.action = [ls](const Cli& c) {
      return run(c, {.target = workload_path(ls->workload, "/volumes")}, render_volumes);
    };
  });

  auto set = std::make_shared<VolumeOptions>();
  verb = noun->add_subcommand("set", "Persist a volume that wins over an inline one");
  verb->add_option("workload", set->workload, "name or id")->required();
  verb->add_option("target", set->target, "path in the container")->required();
  verb->add_option("--scope", set->scope,
                   "absolute, stage, project, instance, named, project_named, ephemeral")
      ->required();
  verb->add_option("--source", set->source, "path on the machine, absolute or below the base");
  verb->add_option("--name", set->name, "of a named volume");
  verb->callback([&cli, set] {
    cli.action = [set](const Cli& c) {
      json body = {{"target", set->target}, {"scope", set->scope}};
      if (!set->source.empty()) body["source"] = set->source;
      if (!set->name.empty()) body["name"] = set->name;
      return run(
          c,
          {.method = "PUT", .target = workload_path(set->workload, "/volumes"), .body = dump(body)},
          render_volumes);
    };
  });

  auto unset = std::make_shared<VolumeOptions>();
  verb = noun->add_subcommand("unset", "Forget a persisted volume; no data is touched");
  verb->add_option("workload", unset->workload, "name or id")->required();
  verb->add_option("target", unset->target, "path in the container")->required();
  verb->callback([&cli, unset] {
    cli.action = [unset](const Cli& c) {
      const std::string query = "/volumes?target=" + net::url_encode(unset->target);
      return run(
          c, {.method = "DELETE", .target = workload_path(unset->workload, query)},
          [](const json& result) { return cell(result, "target") + ": unset\n"; },
          json{{"status", "unset"}, {"target", unset->target}, {"warnings", json::array()}});
    };
  });
}

}  // namespace cairn::cli
