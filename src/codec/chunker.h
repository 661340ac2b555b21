// Where files are cut into blobs. Pure functions: the same bytes give the same cuts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace cairn::codec {

// Content-defined cuts (a gear hash with two masks, after Xia et al., "FastCDC", USENIX ATC 2016).
inline constexpr std::size_t kChunkBytesMin = 256 * 1024;
inline constexpr std::size_t kChunkBytesNormal = 1024 * 1024;
inline constexpr std::size_t kChunkBytesMax = 4 * 1024 * 1024;

// The length of the first chunk of data. Where data is shorter than kChunkBytesMax it must be all
// that is left of the file. Never 0 unless data is empty.
std::size_t first_cut(ByteView data);

enum class Chunking { kContent, kFixed };

struct ChunkPlan {
  Chunking chunking = Chunking::kContent;
  std::size_t fixed_bytes = 0;  // for kFixed: a multiple of 64 KiB
};

// What a file looks like from outside.
struct FileLook {
  std::uint64_t size_bytes = 0;
  bool has_holes = false;
  ByteView head;                      // its first bytes, 512 where it has them
  std::uint64_t directory_bytes = 0;  // of all files in its directory: their ids share one tree
};

// Files that are rewritten in place (databases, disk images) and files with holes are cut at fixed
// places; everything else by content. docs/decisions/0005-fixed-chunks.md.
ChunkPlan plan_chunks(const FileLook& file);

// True where every byte is zero.
bool is_zero(ByteView bytes);

}  // namespace cairn::codec
