// Sleeping that a stop ends.
#pragma once

#include <chrono>
#include <stop_token>

namespace cairn::parallel {

// Returns after that long, or at once when a stop is or was requested. Thread-safe.
void sleep_unless_stopped(const std::stop_token& stop, std::chrono::milliseconds duration);

}  // namespace cairn::parallel
