#include "os/fd.h"

#include <unistd.h>

namespace cairn::os {

void Fd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old >= 0) ::close(old);
}

}  // namespace cairn::os
