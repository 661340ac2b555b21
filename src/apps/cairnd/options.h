// The daemon's command line.
#pragma once

#include <optional>
#include <string>

#include "apps/cairnd/config.h"

namespace cairn::daemon {

struct Options {
  Config config;                 // the file's values with the command line's over them
  std::optional<int> exit_code;  // set where there is nothing to run: help, check-config, faults
};

// Prints what has to be printed.
Options parse_options(int argc, char** argv);

}  // namespace cairn::daemon
