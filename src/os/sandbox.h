// A cage for a child that looks at foreign bytes: it keeps its standard input, output and error and
// loses everything else. What it inherited stays readable to it, nothing new can be opened.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace cairn::os {

struct CageLimits {
  std::uint64_t memory_bytes = 0;  // address space; 0: no limit
  std::uint64_t cpu_seconds = 0;
};

// Call first in a new process with one thread; there is no way back. Closes every other descriptor,
// then: resource limits, no new privileges, no file system (landlock(7), where the kernel has it),
// no capabilities, user and group nobody (where it was root), and a filter of system calls
// (seccomp(2)) that lets through reading descriptor 0, writing 1 and 2, memory and the end, and
// kills the process for any other. After a failure the process must end.
Status enter_cage(const CageLimits& limits);

}  // namespace cairn::os
