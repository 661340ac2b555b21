#include "parallel/sleep.h"

#include <condition_variable>
#include <mutex>

namespace cairn::parallel {

void sleep_unless_stopped(const std::stop_token& stop, std::chrono::milliseconds duration) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, duration, [] { return false; });
}

}  // namespace cairn::parallel
