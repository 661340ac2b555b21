// TCP connections to an address, for health probes. Beside os/socket.h, which sends and receives.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "os/fd.h"
#include "os/socket.h"

namespace cairn::os {

// A connected, non-blocking socket. address is numeric, IPv4 or IPv6: no name is looked up
// (kInvalid). Nobody listening, no route or the deadline: kUnavailable.
Result<Fd> connect_tcp(const std::string& address, std::uint16_t port, const Patience& patience);

}  // namespace cairn::os
