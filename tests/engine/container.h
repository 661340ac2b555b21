// What a new process of the fake engine does to itself before it runs its program: a container's
// builds its root, one in a running container enters it. Called in the new process only (birth.h).
#pragma once

#include <array>

#include "birth.h"
#include "os/fd.h"
#include "request.h"

namespace cairn::spawner {

// Standard input, output and error.
using Streams = std::array<int, 3>;

// Builds the root and makes it the new process's own; its mount and uts namespaces are new.
void enter_root(const Root& root, Report& report);
// Goes to where a container's first process is, but for its pid namespace.
void join_container(const os::Fd& first, Report& report);
// The last steps of both: streams, user, working directory, signals. Nothing else stays open.
void become(const Program& program, const Streams& streams, Report& report);

}  // namespace cairn::spawner
