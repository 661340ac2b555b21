// Every bound of the workload floor, in one place, with units. Requests beyond them are refused by
// field; they are not tunable.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::workload {

// A whole workload definition, as JSON or TOML text.
inline constexpr std::size_t kDefinitionBytesMax = std::size_t{1} << 20U;
inline constexpr std::size_t kImageBytesMax = 512;
inline constexpr std::size_t kTagBytesMax = 128;  // OCI distribution spec
inline constexpr std::size_t kEnvCountMax = 512;
inline constexpr std::size_t kEnvNameBytesMax = 256;
// Linux passes at most 128 KiB for one NAME=value with its NUL (execve(2), MAX_ARG_STRLEN).
inline constexpr std::size_t kEnvBytesMax = (std::size_t{128} << 10U) - 1;
inline constexpr std::size_t kArgumentsMax = 256;
inline constexpr std::size_t kArgumentBytesMax = std::size_t{64} << 10U;
inline constexpr std::size_t kHealthcheckBytesMax = 4096;
inline constexpr std::size_t kPublishesMax = 64;
inline constexpr std::size_t kFacesMax = 64;
inline constexpr std::size_t kDomainBytesMax = 253;  // RFC 1035
inline constexpr std::size_t kShortTextBytesMax = 256;
// Tokens of registries are signed documents of some KiB.
inline constexpr std::size_t kRegistryPasswordBytesMax = std::size_t{16} << 10U;
inline constexpr int kMaxInstancesMax = 32;
inline constexpr double kCpuCoresMax = 4096;
inline constexpr std::int64_t kMemoryMibMin = 6;  // the engine's own lower bound
inline constexpr std::int64_t kMemoryMibMax = std::int64_t{1} << 30U;
inline constexpr std::int64_t kStopTimeoutSecondsMax = 3600;
// Faults listed for one definition; the rest are counted.
inline constexpr std::size_t kFaultsMax = 100;

// Health: how often a probe runs, how long one may take.
inline constexpr std::int64_t kProbeIntervalMs = 250;
inline constexpr std::int64_t kProbeTimeoutMs = 5000;
// A workload without a health check must run this long without a restart.
inline constexpr std::int64_t kSettleMs = 3000;
inline constexpr std::size_t kProbeReplyBytesMax = std::size_t{16} << 10U;
inline constexpr std::size_t kExecOutputBytesMax = std::size_t{4} << 10U;
// What a failed deploy shows of the container's log.
inline constexpr int kLogTailLines = 20;
inline constexpr std::size_t kLogTailBytesMax = std::size_t{16} << 10U;

// How long recovery waits between two tries while the engine is away.
inline constexpr std::int64_t kRecoveryRetryMs = 1000;
// The tag's share of a container's name.
inline constexpr std::size_t kContainerTagBytesMax = 32;

}  // namespace cairn::workload
