// CHECK(condition): for bugs in Cairn, always on, aborts. Crash safety makes an abort safe.
// Bad input and bad bytes on disk are never a CHECK.
#pragma once

namespace cairn {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace cairn

#define CHECK(condition)                                     \
  do {                                                       \
    if (!(condition)) {                                      \
      ::cairn::check_failed(#condition, __FILE__, __LINE__); \
    }                                                        \
  } while (false)
