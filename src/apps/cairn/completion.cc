#include "apps/cairn/completion.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"

namespace cairn::cli {

namespace {

struct Node {
  std::string path;  // "workload deploy"; empty for the program itself
  std::vector<std::pair<std::string, std::string>> words;    // subcommands with their help
  std::vector<std::pair<std::string, std::string>> options;  // "--json" with their help
};

void collect(const CLI::App& app, const std::string& path, std::vector<Node>& out) {
  Node node{.path = path, .words = {}, .options = {}};
  const auto no_filter = std::function<bool(const CLI::App*)>();
  const auto subcommands = app.get_subcommands(no_filter);
  for (const CLI::App* sub : subcommands) {
    node.words.emplace_back(sub->get_name(), sub->get_description());
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      node.options.emplace_back("--" + name, option->get_description());
    }
  }
  out.push_back(std::move(node));
  for (const CLI::App* sub : subcommands) {
    collect(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), out);
  }
}

std::string names(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out;
  for (const auto& [name, help] : items) out += (out.empty() ? "" : " ") + name;
  return out;
}

std::string bash_cases(const std::vector<Node>& nodes) {
  std::string out;
  for (const Node& node : nodes) {
    out += "    '" + node.path + "') words='" + names(node.words) + "' options='" +
           names(node.options) + "';;\n";
  }
  return out;
}

std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

// Finds the longest known command among the words that are no options, then offers its words.
std::string bash_script(const std::vector<Node>& nodes) {
  std::string known;
  for (const Node& node : nodes) known += node.path + "|";
  return "# bash completion of cairn\n"
         "_cairn() {\n"
         "  local path='' next word words='' options='' i\n"
         "  local known='|" +
         known +
         "'\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    word=${COMP_WORDS[i]}\n"
         "    [[ $word == -* ]] && continue\n"
         "    next=${path:+$path }$word\n"
         "    [[ $known == *\"|$next|\"* ]] && path=$next\n"
         "  done\n"
         "  case \"$path\" in\n" +
         bash_cases(nodes) +
         "  esac\n"
         "  case \"${COMP_WORDS[COMP_CWORD]}\" in\n"
         "    -*) COMPREPLY=($(compgen -W \"$options --json --socket --help\" -- "
         "\"${COMP_WORDS[COMP_CWORD]}\"));;\n"
         "    *) COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"));;\n"
         "  esac\n"
         "  [[ ${COMP_WORDS[COMP_CWORD - 1]} == -f ]] && "
         "COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "  return 0\n"
         "}\n"
         "complete -F _cairn cairn\n";
}

std::string zsh_script(const std::vector<Node>& nodes) {
  // zsh runs bash's functions; one script is enough.
  return "#compdef cairn\n"
         "autoload -U +X bashcompinit && bashcompinit\n" +
         bash_script(nodes);
}

std::string fish_script(const std::vector<Node>& nodes) {
  std::string out =
      "# fish completion of cairn\n"
      "function __cairn_at\n"
      "  set -l words (commandline -opc | string match -v -- '-*')\n"
      "  set -l depth (count (string split -n ' ' -- $argv[1]))\n"
      "  test (string join ' ' -- $words[2..(math $depth + 1)]) = \"$argv[1]\"; or return 1\n"
      "  not contains -- \"$words[(math $depth + 2)]\" (string split ' ' -- $argv[2])\n"
      "end\n"
      "complete -c cairn -f\n";
  for (const Node& node : nodes) {
    const std::string at =
        fmt::format("complete -c cairn -n \"__cairn_at '{}' '{}'\"", node.path, names(node.words));
    for (const auto& [word, help] : node.words) {
      out += fmt::format("{} -a {} -d {}\n", at, word, fish_quoted(help));
    }
    for (const auto& [option, help] : node.options) {
      out += fmt::format("{} -l {} -d {}\n", at, option.substr(2), fish_quoted(help));
    }
  }
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, std::string_view shell) {
  std::vector<Node> nodes;
  collect(app, "", nodes);
  if (shell == "fish") return fish_script(nodes);
  return shell == "zsh" ? zsh_script(nodes) : bash_script(nodes);
}

void add_completion(CLI::App& app, Cli& cli) {
  auto shell = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("completion", "Print a completion script");
  verb->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  verb->callback([&app, &cli, shell] {
    cli.action = [&app, shell](const Cli&) {
      print(completion_script(app, *shell));
      return Exit::kOk;
    };
  });
}

}  // namespace cairn::cli
