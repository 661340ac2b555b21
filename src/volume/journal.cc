// A record: magic u32 | sequence u32 | state length u32 | JSON length u32 | SHA-256 of all of the
// record but this field, 32 bytes | state | JSON; little endian; it starts on a page of 4096 bytes,
// so that writing one never touches a page that holds another.
#include "volume/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "base/ids.h"
#include "base/strings.h"
#include "os/fault.h"

namespace cairn::volume {

namespace {

constexpr std::uint32_t kMagic = 0x314A4E43;  // "CNJ1"
constexpr std::size_t kHeaderBytes = 48;
constexpr std::size_t kDigestAt = 16;
constexpr std::size_t kDigestBytes = 32;
static_assert(kDigestBytes == SHA256_DIGEST_LENGTH);
static_assert(kHeaderBytes == kDigestAt + kDigestBytes);

std::size_t round_to_page(std::size_t bytes) {
  return (bytes + kJournalPageBytes - 1) / kJournalPageBytes * kJournalPageBytes;
}

std::size_t record_bytes(const JournalRecord& record) {
  return round_to_page(kHeaderBytes + record.state.size() + record.json.size());
}

std::array<unsigned char, kDigestBytes> digest_of(ByteView head, ByteView body) {
  Bytes all(head.begin(), head.end());
  all.insert(all.end(), body.begin(), body.end());
  std::array<unsigned char, kDigestBytes> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), digest.data());
  return digest;
}

Bytes encode(const JournalRecord& record, std::uint32_t sequence) {
  Bytes out(record_bytes(record));
  store_le32(out.data(), kMagic);
  store_le32(out.data() + 4, sequence);
  store_le32(out.data() + 8, static_cast<std::uint32_t>(record.state.size()));
  store_le32(out.data() + 12, static_cast<std::uint32_t>(record.json.size()));
  const std::string body = record.state + record.json;
  std::ranges::copy(as_bytes(body), out.begin() + kHeaderBytes);
  const auto digest = digest_of({out.data(), kDigestAt}, as_bytes(body));
  std::ranges::copy(std::as_bytes(std::span(digest)), out.begin() + kDigestAt);
  return out;
}

// The record at the front of bytes, nothing where none is whole there.
std::optional<JournalRecord> decode(ByteView bytes, std::uint32_t sequence) {
  if (bytes.size() < kHeaderBytes || load_le32(bytes.data()) != kMagic ||
      load_le32(bytes.data() + 4) != sequence) {
    return std::nullopt;
  }
  const std::size_t state_size = load_le32(bytes.data() + 8);
  const std::size_t json_size = load_le32(bytes.data() + 12);
  if (state_size > kJournalBytesMax || json_size > kJournalBytesMax ||
      state_size + json_size > bytes.size() - kHeaderBytes) {
    return std::nullopt;
  }
  const ByteView body = bytes.subspan(kHeaderBytes, state_size + json_size);
  const auto digest = digest_of(bytes.first(kDigestAt), body);
  if (!std::ranges::equal(std::as_bytes(std::span(digest)),
                          bytes.subspan(kDigestAt, kDigestBytes))) {
    return std::nullopt;
  }
  return JournalRecord{std::string(as_text(body.first(state_size))),
                       std::string(as_text(body.subspan(state_size)))};
}

// The offset of a whole record behind one that is not; nothing where there is none. Each record was
// synced before the next one was written.
std::optional<std::size_t> find_stranded(ByteView content,
                                         std::size_t from,
                                         std::uint32_t missing) {
  for (std::size_t at = from + kJournalPageBytes; at + kHeaderBytes <= content.size();
       at += kJournalPageBytes) {
    const ByteView page = content.subspan(at);
    if (load_le32(page.data()) != kMagic) continue;
    const std::uint32_t sequence = load_le32(page.data() + 4);
    if (sequence > missing && decode(page, sequence)) return at;
  }
  return std::nullopt;
}

}  // namespace

Result<Journal> Journal::create(const os::Dir& dir,
                                const std::string& operation,
                                const JournalRecord& first,
                                std::size_t extra_bytes) {
  TRY(os::check_component(operation));
  const std::size_t size = record_bytes(first) + round_to_page(kJournalReserveBytes + extra_bytes);
  if (size > kJournalBytesMax) return Error(Code::kInvalid, "the plan is larger than a journal");
  TRY_ASSIGN(os::Fd file, dir.open_file(".", __O_TMPFILE | O_DIRECTORY | O_RDWR, 0600));
  os::disable_copy_on_write(file);
  Journal journal(operation, std::move(file), size);
  // Real zeros, not a reservation: writing into reserved space can still need new metadata.
  Bytes content = encode(first, 0);
  content.resize(size);
  TRY_CONTEXT(os::write_all_at(journal.file_, content, 0), "write the journal");
  if (!os::seeded(os::Bug::kJournalSkipsSync)) TRY(os::sync_all(journal.file_));
  TRY(dir.link_file(journal.file_, operation));
  TRY(dir.sync());
  journal.records_.push_back(first);
  journal.next_offset_ = record_bytes(first);
  journal.sequence_ = 1;
  return journal;
}

Result<Journal> Journal::open(const os::Dir& dir, const std::string& operation) {
  TRY_ASSIGN(os::Fd file, dir.open_file(operation, O_RDWR));
  TRY_ASSIGN(const os::Stat stat, os::stat_fd(file));
  if (stat.type != os::FileType::kRegular || stat.size_bytes > kJournalBytesMax) {
    return Error(Code::kCorrupt, "journal " + printable(operation) + " is not one of ours");
  }
  Bytes content(stat.size_bytes);
  TRY_ASSIGN(const std::size_t got, os::read_at(file, content, 0));
  content.resize(got);
  Journal journal(operation, std::move(file), content.size());
  while (journal.next_offset_ < content.size()) {
    auto record = decode(ByteView(content).subspan(journal.next_offset_), journal.sequence_);
    if (!record) break;
    journal.next_offset_ += record_bytes(*record);
    ++journal.sequence_;
    journal.records_.push_back(std::move(*record));
  }
  if (journal.records_.empty()) {
    return Error(Code::kCorrupt,
                 "journal " + printable(operation) + ": its first record is damaged");
  }
  if (const auto stranded = find_stranded(content, journal.next_offset_, journal.sequence_)) {
    return Error(Code::kCorrupt,
                 fmt::format("journal {}: the record at byte {} is damaged, the one at {} is whole",
                             printable(operation), journal.next_offset_, *stranded));
  }
  return journal;
}

Status Journal::append(const JournalRecord& record) {
  const Bytes bytes = encode(record, sequence_);
  if (next_offset_ + bytes.size() > size_bytes_) {
    return Error(Code::kNoSpace, "journal " + operation_ + " is full");
  }
  TRY_CONTEXT(os::write_all_at(file_, bytes, next_offset_), "journal " + record.state);
  if (!os::seeded(os::Bug::kJournalSkipsSync)) {
    TRY_CONTEXT(os::sync_data(file_), "journal " + record.state);
  }
  next_offset_ += bytes.size();
  ++sequence_;
  records_.push_back(record);
  return {};
}

const JournalRecord* Journal::find(std::string_view state) const {
  for (auto record = records_.rbegin(); record != records_.rend(); ++record) {
    if (record->state == state) return &*record;
  }
  return nullptr;
}

Status Journal::remove(const os::Dir& dir) {
  const Status removed = dir.remove_file(operation_);
  if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  return dir.sync();
}

Result<std::vector<std::string>> list_journals(const os::Dir& dir) {
  TRY_ASSIGN(const std::vector<os::Entry> entries, dir.list());
  std::vector<std::string> out;
  for (const os::Entry& entry : entries) {
    if (ids::is(ids::kOperation, entry.name)) out.push_back(entry.name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace cairn::volume
