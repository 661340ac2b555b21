// Headers of a tar archive as Cairn writes it: ustar with pax records (POSIX.1-2017, pax) for what
// ustar cannot say: long and foreign names, large numbers, nanoseconds, extended attributes
// (SCHILY.xattr.*), holes (GNU.sparse 1.0). Pure functions.
#pragma once

#include <span>
#include <string>

#include "codec/tar.h"

namespace cairn::codec {

// All blocks that stand before an entry's data. extents is null for a file without holes; else its
// ranges of data, rising and apart: the data that follows is theirs, one after the other. kInvalid
// where tar cannot say it (a NUL in a name).
Result<std::string> encode_tar_header(const TarEntry& entry,
                                      const std::vector<TarExtent>* extents = nullptr);

// Zeros that fill the last block of data_bytes bytes of data.
std::string tar_padding(std::uint64_t data_bytes);
// The two blocks that end an archive.
std::string tar_end();

}  // namespace cairn::codec
