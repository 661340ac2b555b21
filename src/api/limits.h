// Every bound of the API floor, in one place, with units. They are not tunable.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::api {

inline constexpr std::size_t kHeaderBytesMax = std::size_t{16} << 10U;
inline constexpr std::size_t kBodyBytesMax = std::size_t{1} << 20U;
// What is read and thrown away of a refused body, so that its sender gets to read the refusal.
inline constexpr std::size_t kDrainBytesMax = std::size_t{64} << 20U;
inline constexpr std::size_t kConnectionsMax = 256;
// Threads that run handlers; calls that wait or stream do not stay on them.
inline constexpr std::size_t kHandlersMax = 8;
// Threads for synchronous long calls and event streams; one more is refused with 503.
inline constexpr std::size_t kWaitersMax = 128;

// Bodies that are spooled to a file in the data directory: archives.
inline constexpr std::uint64_t kSpoolBytesMax = std::uint64_t{256} << 30U;
inline constexpr std::size_t kSpoolsMax = 4;
inline constexpr std::size_t kSpoolPieceBytes = std::size_t{256} << 10U;

inline constexpr std::int64_t kHeaderTimeoutMs = 10'000;
inline constexpr std::int64_t kBodyTimeoutMs = 30'000;
inline constexpr std::int64_t kIdleTimeoutMs = 60'000;
inline constexpr std::int64_t kWriteTimeoutMs = 30'000;
inline constexpr std::int64_t kDrainTimeoutMs = 5'000;
// How long answers under way may take to leave when the daemon stops.
inline constexpr std::int64_t kStopGraceMs = 2'000;
// A comment line on a quiet event stream, so that a peer that is gone is noticed.
inline constexpr std::int64_t kKeepAliveMs = 15'000;
// How often a wait looks whether it should end.
inline constexpr std::int64_t kWaitStepMs = 500;

inline constexpr std::size_t kTargetBytesMax = 4096;
inline constexpr std::size_t kQueryPartsMax = 64;
inline constexpr std::size_t kListMax = 1000;
inline constexpr std::size_t kLogTailMax = 10'000;
inline constexpr std::size_t kLabelsMax = 64;
inline constexpr std::size_t kLabelBytesMax = 256;
inline constexpr std::size_t kLogBytesMax = std::size_t{8} << 20U;
inline constexpr int kRetryAfterSeconds = 2;

inline constexpr std::size_t kHookBytesMax = 4096;          // a pre or post command
inline constexpr std::int64_t kHoldSecondsMax = 24 * 3600;  // of max_hold

}  // namespace cairn::api
