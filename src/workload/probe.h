// Health probes from outside a container: one HTTP/1.1 GET (RFC 9112) or one TCP connection to its
// address. Only the status line is looked at. Thread-safe.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace cairn::workload {

struct ProbeTarget {
  std::string address;  // numeric
  std::uint16_t port = 0;
};

// The status code of GET path. kUnavailable: nobody answers in time; kInvalid: not HTTP;
// kCancelled.
Result<int> probe_http(const ProbeTarget& target,
                       const std::string& path,
                       std::int64_t timeout_ms,
                       std::stop_token stop);

// Connects and closes.
Status probe_tcp(const ProbeTarget& target, std::int64_t timeout_ms, std::stop_token stop);

}  // namespace cairn::workload
