// cairn snapshot adopt
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

struct AdoptOptions {
  std::string workload;
  std::string snapshot;
  std::vector<std::string> map;
  bool dry_run = false;

  [[nodiscard]] std::string body() const {
    json list = json::array();
    for (const std::string& text : map) {
      const Mapping mapping = parse_mapping(text).value_or(Mapping());
      list.push_back({{"path", mapping.path}, {"target", mapping.target}});
    }
    return dump({{"snapshot", snapshot}, {"map", std::move(list)}});
  }
};

std::string size_of(const json& record) {
  return human_bytes(record.value("bytes", std::uint64_t{0})) + " in " + cell(record, "files") +
         " files";
}

std::string render_plan(const json& plan) {
  Table table({"TARGET", "FROM", "SIZE"});
  for (const json& volume : plan.value("volumes", json::array())) {
    table.row({cell(volume, "target"), cell(volume, "path"), size_of(volume)});
  }
  return table.text() + "would be made of " + cell(plan, "adopted_from") + ", of " +
         cell(plan, "created_at") + "\n";
}

std::string render_made(const json& snapshot) {
  return cell(snapshot, "id") + ": " + size_of(snapshot) + " adopted, of " +
         cell(snapshot, "created_at") + "; nothing is restored yet\n";
}

Exit adopt(const Cli& cli, const AdoptOptions& options) {
  const std::string path = path_of("/api/workloads", {options.workload}) + "/snapshots/adopt";
  if (options.dry_run) {
    return run(cli, {.method = "POST", .target = path + "?dryRun=1", .body = options.body()},
               render_plan);
  }
  return run_long(cli, {.method = "POST", .target = path, .body = options.body()},
                  "adopt into " + options.workload, render_made);
}

}  // namespace

std::optional<Mapping> parse_mapping(const std::string& text) {
  const std::size_t equals = text.rfind("=/");
  if (equals == std::string::npos || equals == 0) return std::nullopt;
  return Mapping{.path = text.substr(0, equals), .target = text.substr(equals + 1)};
}

void add_adopt(CLI::App& noun, Cli& cli) {
  auto options = std::make_shared<AdoptOptions>();
  CLI::App* verb = noun.add_subcommand("adopt", "Make a snapshot out of one that restic wrote");
  verb->add_option("workload", options->workload, "name or id")->required();
  verb->add_option("snapshot", options->snapshot,
                   "its id in the repository, or the first eight digits or more")
      ->required();
  verb->add_option("--map", options->map,
                   "PATH=TARGET: the directory PATH of it is the content of volume TARGET; may be "
                   "repeated")
      ->required()
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return parse_mapping(text) ? std::string() : "not PATH=TARGET: " + text;
      });
  verb->add_flag("--dry-run", options->dry_run, "only say what would be made");
  verb->callback(
      [&cli, options] { cli.action = [options](const Cli& c) { return adopt(c, *options); }; });
}

}  // namespace cairn::cli
