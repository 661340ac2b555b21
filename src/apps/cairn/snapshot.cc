// cairn snapshot VERB, cairn restore VERB
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "net/http.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

std::string snapshots_path(const std::string& workload) {
  return path_of("/api/workloads", {workload}) + "/snapshots";
}

std::string bytes_cell(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number_unsigned()
             ? human_bytes(found->get<std::uint64_t>())
             : "-";
}

std::string labels_cell(const json& record) {
  std::string out;
  const json labels = record.value("labels", json::object());  // items() only refers to it
  for (const auto& [key, value] : labels.items()) {
    if (!value.is_string()) continue;
    out += (out.empty() ? "" : ",") + safe(key) + "=" + safe(value.get<std::string>());
  }
  return out.empty() ? "-" : out;
}

std::string render_snapshots(const json& result) {
  Table table({"ID", "WORKLOAD", "STATE", "REASON", "SIZE", "HOLD", "LABELS", "CREATED"});
  for (const json& item : result.value("snapshots", json::array())) {
    table.row({cell(item, "id"), cell(item, "workload"), cell(item, "state"), cell(item, "reason"),
               bytes_cell(item, "bytes"), human_ms(item.value("hold_ms", std::int64_t{0})),
               labels_cell(item), cell(item, "created_at")});
  }
  return table.text();
}

std::string render_snapshot(const json& snapshot) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"snapshot", cell(snapshot, "id")},
      {"workload", cell(snapshot, "workload")},
      {"state", cell(snapshot, "state")},
      {"reason", cell(snapshot, "reason")},
      {"consistency", cell(snapshot, "consistency")},
      {"held for", human_ms(snapshot.value("hold_ms", std::int64_t{0})) + ", " +
                       cell(snapshot, "files_walked") + " entries looked at, " +
                       bytes_cell(snapshot, "bytes_changed") + " put aside"},
      {"size", bytes_cell(snapshot, "bytes") + " in " + cell(snapshot, "files") + " files"},
      {"labels", labels_cell(snapshot)},
      {"created", cell(snapshot, "created_at")},
      {"verified", cell(snapshot, "verified_at")},
      {"in repository", cell(snapshot, "repository_snapshot")}};
  if (cell(snapshot, "adopted_from") != "-") {
    rows.emplace_back("adopted from", cell(snapshot, "adopted_from"));
  }
  for (const json& volume : snapshot.value("volumes", json::array())) {
    rows.emplace_back("volume " + cell(volume, "index"), cell(volume, "target") + "  " +
                                                             bytes_cell(volume, "bytes") + " in " +
                                                             cell(volume, "files") + " files");
  }
  for (const json& volume : snapshot.value("skipped", json::array())) {
    rows.emplace_back("skipped", cell(volume, "target") + "  " + cell(volume, "reason"));
  }
  return facts(rows);
}

std::string render_forecast(const json& forecast) {
  Table table({"TARGET", "ENTRIES", "TO READ"});
  for (const json& volume : forecast.value("volumes", json::array())) {
    table.row(
        {cell(volume, "target"), cell(volume, "entries"), bytes_cell(volume, "bytes_to_read")});
  }
  std::string out = table.text();
  for (const json& volume : forecast.value("skipped", json::array())) {
    out += "skipped: " + cell(volume, "target") + "  " + cell(volume, "reason") + "\n";
  }
  if (cell(forecast, "consistency") == "live") return out + "the workload would not be held\n";
  return out + "the workload would be held for about " +
         human_ms(forecast.value("expected_hold_ms", std::int64_t{0})) + " (at most " +
         human_ms(forecast.value("max_hold_ms", std::int64_t{0})) + ")\n";
}

std::string render_plan(const json& plan) {
  std::string out;
  Table table({"TARGET", "SIZE", "ENTRIES", "PLACE"});
  for (const json& volume : plan.value("volumes", json::array())) {
    table.row({cell(volume, "target"), bytes_cell(volume, "bytes"), cell(volume, "entries"),
               cell(volume, "path") + (volume.value("root_missing", false) ? " (made)" : "")});
  }
  out += table.text();
  const auto list = [&plan, &out](const char* key, const char* sentence) {
    for (const json& item : plan.value(key, json::array())) {
      if (item.is_string()) out += std::string(sentence) + safe(item.get<std::string>()) + "\n";
    }
  };
  list("stops", "stops for the exchange: ");
  list("untouched", "left alone: ");
  list("readers", "also read by: ");
  return out;
}

std::string render_restored(const json& result) {
  std::string out =
      fmt::format("{}, held for {} (Cairn's own part {}), {}\n", cell(result, "status"),
                  human_ms(result.value("hold_ms", std::int64_t{0})),
                  human_ms(result.value("cairn_ms", std::int64_t{0})),
                  result.value("started", false) ? "running again" : "not started, as before");
  for (const json& target : result.value("untouched", json::array())) {
    if (target.is_string()) out += "left alone: " + safe(target.get<std::string>()) + "\n";
  }
  if (cell(result, "undo") != "-") {
    out += "the data from before: cairn restore undo " + cell(result, "undo") + "\n";
  }
  if (cell(result, "storing") != "-") {
    out += "it is being stored by operation " + cell(result, "storing") + "\n";
  }
  return out;
}

struct Target {
  std::string first;   // a workload, or the snapshot alone
  std::string second;  // the snapshot
  bool yes = false;
};

// Both forms, "WORKLOAD SNAPSHOT" and "SNAPSHOT", lead to the snapshot with its workload's id.
struct Found {
  std::shared_ptr<const json> snapshot;
  std::string path;
  Exit exit = Exit::kOk;
};
Found find(const Cli& cli, const Target& target) {
  const std::string path = target.second.empty()
                               ? path_of("/api/snapshots", {target.first})
                               : path_of(snapshots_path(target.first), {target.second});
  const Fetched fetched = fetch(cli, {.target = path});
  if (fetched.value == nullptr) return {.snapshot = nullptr, .path = "", .exit = fetched.exit};
  const std::string workload = fetched.value->value("workload_id", std::string());
  const std::string id = fetched.value->value("id", std::string());
  return {.snapshot = fetched.value,
          .path = path_of(snapshots_path(workload), {id}),
          .exit = Exit::kOk};
}

std::shared_ptr<Target> add_target(CLI::App* verb) {
  auto target = std::make_shared<Target>();
  verb->add_option("workload", target->first, "name or id; may be left out")->required();
  verb->add_option("snapshot", target->second, "snapshot id");
  return target;
}

Exit remove(const Cli& cli, const Target& target) {
  const Found found = find(cli, target);
  if (found.snapshot == nullptr) return found.exit;
  const std::string name = cell(*found.snapshot, "workload");
  const std::string id = cell(*found.snapshot, "id");
  if (!confirmed(cli, target.yes, "This removes snapshot " + id + " of workload " + name + ".",
                 name)) {
    return not_confirmed(cli, name);
  }
  return run_long(cli, {.method = "DELETE", .target = found.path}, "remove " + id,
                  [id](const json&) { return id + ": removed\n"; });
}

struct RestoreOptions {
  std::string workload;
  std::string id;
  std::string on_failure = "undo";
  std::vector<std::string> also_stop;
  std::vector<std::string> only;
  bool dry_run = false;
  bool yes = false;
  bool wait = false;

  [[nodiscard]] json body() const {
    json out{{"on_failure", on_failure}, {"also_stop", also_stop}, {"wait", wait}};
    if (!only.empty()) out["only"] = only;
    return out;
  }
};

void add_restore_options(CLI::App* verb, const std::shared_ptr<RestoreOptions>& options) {
  verb->add_flag("-y,--yes", options->yes, "do not ask");
  verb->add_flag("--wait", options->wait, "wait while somebody else holds the workload");
  verb->add_option("--on-failure", options->on_failure,
                   "when the workload does not get healthy: undo or keep")
      ->check(CLI::IsMember({"undo", "keep"}));
  verb->add_option("--also-stop", options->also_stop,
                   "another container to stop for the exchange; may be repeated")
      ->allow_extra_args(false);
}

Exit restore(const Cli& cli, const RestoreOptions& options) {
  const std::string path = path_of(snapshots_path(options.workload), {options.id}) + "/restore";
  const Call plan{.method = "POST", .target = path + "?dryRun=1", .body = dump(options.body())};
  if (options.dry_run) return run(cli, plan, render_plan);
  if (!options.yes) {
    // The plan is what the question is about; one that is refused is said before anybody types.
    const Fetched workload = fetch(cli, {.target = path_of("/api/workloads", {options.workload})});
    if (workload.value == nullptr) return workload.exit;
    const Fetched planned = fetch(cli, plan);
    if (planned.value == nullptr) return planned.exit;
    const std::string name = cell(*workload.value, "name");
    if (!confirm(render_plan(*planned.value) + "This replaces the live data of workload " + name +
                     "; what is there now is kept as an undo.",
                 name)) {
      return not_confirmed(cli, name);
    }
  }
  return run_long(cli,
                  {.method = "POST",
                   .target = path,
                   .body = dump(options.body()),
                   .headers = {{"X-Confirm-Restore", options.id}}},
                  "restore " + options.workload, render_restored);
}

// Undo and discard of one undo, each confirmed with its workload's name.
Exit change_undo(const Cli& cli, const RestoreOptions& options, bool apply) {
  const std::string path = path_of("/api/undos", {options.id});
  std::string name = options.id;
  if (!options.yes) {
    const Fetched undo = fetch(cli, {.target = path});
    if (undo.value == nullptr) return undo.exit;
    name = cell(*undo.value, "workload");
    const std::string what =
        apply ? "This puts back the data that workload " + name +
                    " had before a restore; what is there now is kept as the next undo."
              : "This deletes, for good, the data that workload " + name + " had before a restore.";
    if (!confirm(what, name)) return not_confirmed(cli, name);
  }
  if (apply) {
    return run_long(cli,
                    {.method = "POST",
                     .target = path + "/undo",
                     .body = dump(options.body()),
                     .headers = {{"X-Confirm-Restore", options.id}}},
                    "undo " + name, render_restored);
  }
  return run_long(cli,
                  {.method = "POST",
                   .target = path + "/discard",
                   .headers = {{"X-Confirm-Remove", options.id}}},
                  "discard " + name,
                  [](const json& result) { return cell(result, "undo") + ": discarded\n"; });
}

std::string render_undos(const json& result) {
  Table table({"ID", "WORKLOAD", "STATE", "SNAPSHOT", "STORED AS", "EXPIRES", "CREATED"});
  for (const json& item : result.value("undos", json::array())) {
    table.row({cell(item, "id"), cell(item, "workload"), cell(item, "state"),
               cell(item, "snapshot"), cell(item, "pre_restore_snapshot"), cell(item, "expires_at"),
               cell(item, "created_at")});
  }
  return table.text();
}

std::string render_undo(const json& undo) {
  std::vector<std::string> targets;
  for (const json& target : undo.value("volumes", json::array())) {
    if (target.is_string()) targets.push_back(safe(target.get<std::string>()));
  }
  return facts({{"undo", cell(undo, "id")},
                {"workload", cell(undo, "workload")},
                {"state", cell(undo, "state")},
                {"volumes", fmt::format("{}", fmt::join(targets, ", "))},
                {"restored snapshot", cell(undo, "snapshot")},
                {"stored as", cell(undo, "pre_restore_snapshot")},
                {"data generation", cell(undo, "data_generation")},
                {"expires", cell(undo, "expires_at")},
                {"created", cell(undo, "created_at")}});
}

void add_create(CLI::App& noun, Cli& cli) {
  struct CreateOptions {
    std::string workload;
    std::string consistency = "paused";
    std::optional<std::string> max_hold;
    std::string pre;
    std::string post;
    std::vector<std::string> labels;
    bool dry_run = false;
    bool wait = false;

    [[nodiscard]] json body() const {
      json labels_of = json::object();
      for (const std::string& label : labels) {
        const std::size_t equals = label.find('=');
        labels_of[label.substr(0, equals)] = label.substr(equals + 1);
      }
      json out{{"consistency", consistency}, {"labels", labels_of}, {"wait", wait}};
      if (max_hold) out["max_hold"] = *max_hold;
      if (!pre.empty()) out["pre"] = pre;
      if (!post.empty()) out["post"] = post;
      return out;
    }
  };
  auto options = std::make_shared<CreateOptions>();
  CLI::App* verb = noun.add_subcommand("create", "Capture a workload's volumes");
  verb->add_option("workload", options->workload, "name or id")->required();
  verb->add_option("--consistency", options->consistency, "paused (default), stopped or live")
      ->check(CLI::IsMember({"paused", "stopped", "live"}));
  verb->add_option("--max-hold", options->max_hold, "how long the workload may be held: 5s, 2m");
  verb->add_option("--pre", options->pre, "command in the workload's container before the cut");
  verb->add_option("--post", options->post, "command after it; run whatever happens");
  verb->add_flag("--dry-run", options->dry_run, "only say what would happen");
  verb->add_option("--label", options->labels, "KEY=VALUE; may be repeated")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        const std::size_t equals = text.find('=');
        return equals == 0 || equals == std::string::npos ? "not KEY=VALUE: " + text
                                                          : std::string();
      });
  verb->add_flag("--wait", options->wait, "wait while somebody else holds the workload");
  verb->callback([&cli, options] {
    cli.action = [options](const Cli& c) {
      const std::string path = snapshots_path(options->workload);
      if (options->dry_run) {
        return run(c,
                   {.method = "POST", .target = path + "?dryRun=1", .body = dump(options->body())},
                   render_forecast);
      }
      return run_long(c, {.method = "POST", .target = path, .body = dump(options->body())},
                      "snapshot " + options->workload, render_snapshot);
    };
  });
}

void add_restore_verb(CLI::App& noun, Cli& cli) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* verb = noun.add_subcommand("restore", "Put a snapshot onto the live volumes");
  verb->add_option("workload", options->workload, "name or id")->required();
  verb->add_option("snapshot", options->id, "snapshot id")->required();
  verb->add_flag("--dry-run", options->dry_run, "only say what would happen");
  verb->add_option("--only", options->only,
                   "target of a volume to restore, the others are left alone; may be repeated")
      ->allow_extra_args(false);
  add_restore_options(verb, options);
  verb->callback(
      [&cli, options] { cli.action = [options](const Cli& c) { return restore(c, *options); }; });
}

}  // namespace

void add_snapshot(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("snapshot", "Captured states of a workload's volumes");
  noun->require_subcommand(1);
  add_create(*noun, cli);

  auto workload = std::make_shared<std::string>();
  CLI::App* verb = noun->add_subcommand("ls", "List snapshots, newest first");
  verb->add_option("workload", *workload, "name or id; all without it");
  verb->callback([&cli, workload] {
    cli.action = [workload](const Cli& c) {
      const std::string path =
          workload->empty() ? std::string("/api/snapshots") : snapshots_path(*workload);
      return run(c, {.target = path}, render_snapshots);
    };
  });

  verb = noun->add_subcommand("show", "Show one snapshot");
  auto shown = add_target(verb);
  verb->callback([&cli, shown] {
    cli.action = [shown](const Cli& c) {
      const Found found = find(c, *shown);
      return found.snapshot == nullptr ? found.exit : succeed(c, *found.snapshot, render_snapshot);
    };
  });

  verb = noun->add_subcommand("rm", "Remove a snapshot");
  auto removed = add_target(verb);
  verb->add_flag("-y,--yes", removed->yes, "do not ask");
  verb->callback(
      [&cli, removed] { cli.action = [removed](const Cli& c) { return remove(c, *removed); }; });

  verb = noun->add_subcommand("verify", "Read every byte of a snapshot back");
  auto verified = add_target(verb);
  verb->callback([&cli, verified] {
    cli.action = [verified](const Cli& c) {
      const Found found = find(c, *verified);
      if (found.snapshot == nullptr) return found.exit;
      const std::string id = cell(*found.snapshot, "id");
      return run_long(c, {.method = "POST", .target = found.path + "/verify"}, "verify " + id,
                      [id](const json&) { return id + ": every byte is as it was captured\n"; });
    };
  });

  add_restore_verb(*noun, cli);
  add_archives(*noun, cli);
  add_adopt(*noun, cli);
}

void add_restore(CLI::App& app, Cli& cli) {
  CLI::App* noun = app.add_subcommand("restore", "What restores left behind: undos");
  noun->require_subcommand(1);

  auto workload = std::make_shared<std::string>();
  CLI::App* verb = noun->add_subcommand("ls", "List undos, newest first");
  verb->add_option("workload", *workload, "name or id; all without it");
  verb->callback([&cli, workload] {
    cli.action = [workload](const Cli& c) {
      const std::string query = workload->empty() ? "" : "?workload=" + net::url_encode(*workload);
      return run(c, {.target = "/api/undos" + query}, render_undos);
    };
  });

  auto shown = std::make_shared<std::string>();
  verb = noun->add_subcommand("show", "Show one undo");
  verb->add_option("undo", *shown, "undo id")->required();
  verb->callback([&cli, shown] {
    cli.action = [shown](const Cli& c) {
      return run(c, {.target = path_of("/api/undos", {*shown})}, render_undo);
    };
  });

  auto undo = std::make_shared<RestoreOptions>();
  verb = noun->add_subcommand("undo", "Put back the data from before a restore");
  verb->add_option("undo", undo->id, "undo id")->required();
  add_restore_options(verb, undo);
  verb->callback(
      [&cli, undo] { cli.action = [undo](const Cli& c) { return change_undo(c, *undo, true); }; });

  auto discard = std::make_shared<RestoreOptions>();
  verb = noun->add_subcommand("discard", "Delete the data of an undo for good");
  verb->add_option("undo", discard->id, "undo id")->required();
  verb->add_flag("-y,--yes", discard->yes, "do not ask");
  verb->callback([&cli, discard] {
    cli.action = [discard](const Cli& c) { return change_undo(c, *discard, false); };
  });
}

}  // namespace cairn::cli
