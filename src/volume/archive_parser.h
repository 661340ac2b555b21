// The parser of archives: a child in a cage (os/sandbox.h) that unpacks and reads an archive and
// sends what is in it as frames (volume/archive_wire.h), and the daemon's side of it.
#pragma once

#include <cstdint>
#include <stop_token>

#include "base/result.h"
#include "codec/tar_reader.h"
#include "os/fd.h"

namespace cairn::volume {

// The child's main function: standard input is the archive (a file), standard output the frames.
// The exit code: 0 when everything was said, be it an error.
int run_archive_parser();

// Runs the child over the archive and gives every entry and piece of data, checked again, to sink.
// kInvalid with the child's sentence where the archive is not accepted, kCorrupt where the child
// breaks its own protocol or dies, kCancelled, kUnavailable past kParseTimeMs; else the sink's
// failure. The child has ended in any case. Reads the file from its beginning.
Status parse_archive(const os::Fd& archive, codec::TarSink& sink, const std::stop_token& stop);

}  // namespace cairn::volume
