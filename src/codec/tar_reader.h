// TarReader: the strictest reading of a tar archive: ustar, pax, GNU long names, GNU holes (the old
// form and 1.0). Bytes in, entries out; no I/O. Where two programs could read an archive in two
// ways it is refused: sizes that contradict each other, two names for one entry, repeated or
// malformed records, numbers out of range, wrong checksums, a missing end, bytes after the end.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/tar.h"

namespace cairn::codec {

// What an archive holds, in its order. A failure ends the reading and is the reader's answer.
class TarSink {
 public:
  virtual ~TarSink() = default;
  // The path is checked (split_tar_path); "." is the archive's root. The data of a file follows.
  virtual Status entry(const TarEntry& entry) = 0;
  // A piece of the last entry's data at offset, rising; what no piece covers is zeros.
  virtual Status data(std::uint64_t offset, ByteView bytes) = 0;
};

struct TarLimits {
  std::uint64_t entries_max = kTarEntriesMax;
  std::uint64_t bytes_max = kTarTotalBytesMax;
};

// One thread at a time. After a failure nothing more may be fed.
class TarReader {
 public:
  explicit TarReader(TarSink& sink, TarLimits limits = {}) : sink_(sink), limits_(limits) {}

  // kInvalid where the archive is not what it must be or passes a limit.
  Status feed(ByteView bytes);
  // The archive ends here; kInvalid where its own end did not come.
  Status finish();

 private:
  enum class Phase { kHeader, kPayload, kOldMap, kMap, kData, kPadding, kLastBlock, kTail };
  using Records = std::map<std::string, std::string>;

  Status collected();
  Status header();
  Status payload();
  Status old_map();
  Status map_block();
  Status last_block();
  Status begin_payload(char type, std::uint64_t size);
  Status pax_records(Records& records);
  Result<TarEntry> build_entry(char type, std::uint64_t& stored_bytes);
  Status name_entry(TarEntry& entry);
  Status apply_records(TarEntry& entry, std::uint64_t& stored_bytes);
  Status begin_old_map();
  Status old_extents(std::size_t at, std::size_t count);
  Status map_number(std::uint64_t value);
  Status begin_entry();
  void advance(std::size_t bytes);
  void expect(Phase phase, std::size_t bytes);

  TarSink& sink_;
  const TarLimits limits_;
  Phase phase_ = Phase::kHeader;
  std::string buffer_;  // being collected
  std::size_t wanted_ = kTarBlockBytes;

  // What stands before an entry and belongs to it.
  char payload_type_ = 0;
  std::size_t payload_bytes_ = 0;
  std::optional<Records> records_;
  std::optional<std::string> long_name_;
  std::optional<std::string> long_link_;

  std::string block_;  // the entry's own header
  TarEntry entry_;
  std::uint64_t stored_bytes_ = 0;  // behind the header, a map too
  std::vector<TarExtent> extents_;
  std::uint64_t extents_bytes_ = 0;
  std::optional<std::uint64_t> map_count_;  // extents that a 1.0 map has
  std::optional<std::uint64_t> map_offset_;
  std::uint64_t map_from_ = 0;  // where the last one ended
  std::string map_digits_;
  std::size_t extent_ = 0;       // being read
  std::uint64_t extent_at_ = 0;  // bytes of it that were
  std::size_t padding_ = 0;

  std::uint64_t entries_ = 0;
  std::uint64_t total_bytes_ = 0;
  std::size_t globals_ = 0;
  std::size_t tail_bytes_ = 0;
};

}  // namespace cairn::codec
