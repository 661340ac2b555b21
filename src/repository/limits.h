// Every limit of the repository, with its unit. What is read from a repository is not trusted more
// than these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::repository {

// What we write.
inline constexpr std::size_t kPackBytesTarget = std::size_t{16} << 20U;
// Of tiny blobs the header, and the index of one pack, would be larger than what they hold.
inline constexpr std::size_t kPackBlobsMax = 20'000;
inline constexpr std::size_t kIndexBlobsTarget = 50'000;       // blobs in one index file
inline constexpr std::size_t kWholeFileBytesMax = 512 * 1024;  // smaller files are one blob

// Memory of one capture: packs that are written at the same time, chunks waiting for a worker.
inline constexpr std::size_t kPacksInFlight = 2;
inline constexpr std::size_t kChunksInFlight = 16;
inline constexpr std::size_t kJobsQueued = 256;
inline constexpr std::size_t kWorkersMax = 8;

// Of one restorer's window: what is planned together and read pack by pack.
inline constexpr std::size_t kWindowBlobs = 8192;
inline constexpr std::size_t kWindowFiles = 4096;
inline constexpr std::size_t kWindowOpenFiles = 128;
inline constexpr std::size_t kWindowDirs = 256;
inline constexpr std::size_t kBatchBytesMax = std::size_t{4} << 20U;      // of one thread's batch
inline constexpr std::size_t kRangeGapBytesMax = 64 * 1024;               // read over, not around
inline constexpr std::size_t kBatchGapsBytesMax = std::size_t{4} << 20U;  // of one batch
inline constexpr std::size_t kRunBytesMax = std::size_t{1} << 20U;        // of one write to a file
inline constexpr std::size_t kWritebackBytesMin = 512 * 1024;  // runs that go to disk at once
inline constexpr std::size_t kSyncEveryBytes = std::size_t{64} << 20U;  // of such runs, then a sync
inline constexpr std::size_t kHoleBytesMin = 64 * 1024;  // zero runs that become holes

inline constexpr std::size_t kWarningsMax = 100;  // sentences a volume

// What we accept.
inline constexpr std::size_t kDataBlobBytesMax = std::size_t{128} << 20U;
inline constexpr std::size_t kTreeBlobBytesMax = std::size_t{512} << 20U;
inline constexpr std::size_t kPackHeaderBytesMax = std::size_t{16} << 20U;
inline constexpr std::size_t kSmallFileBytesMax = std::size_t{1} << 20U;  // config, key, lock
inline constexpr std::size_t kSnapshotBytesMax = std::size_t{64} << 20U;
inline constexpr std::size_t kIndexBytesMax = std::size_t{1} << 30U;
inline constexpr std::size_t kKeysMax = 20;
inline constexpr std::size_t kDepthMax = 4096;  // directories below each other: one descriptor each
inline constexpr std::size_t kLinkTargetBytesMax = 4095;
inline constexpr std::size_t kXattrsMax = 1024;  // of one entry
inline constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 62U;
inline constexpr std::uint64_t kAdoptedBytesMax = std::uint64_t{1} << 56U;  // and entries

// Locks, as restic does it.
inline constexpr std::int64_t kLockWaitMs = 200;  // where a list may be late
inline constexpr std::int64_t kLockRefreshMs = 5 * 60 * 1000;
inline constexpr std::int64_t kLockStaleMs = 30 * 60 * 1000;

}  // namespace cairn::repository
