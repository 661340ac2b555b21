// Completion scripts for bash, zsh and fish, made from the commands themselves. Pure.
#pragma once

#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace cairn::cli {

// shell: "bash", "zsh" or "fish".
std::string completion_script(const CLI::App& app, std::string_view shell);

}  // namespace cairn::cli
