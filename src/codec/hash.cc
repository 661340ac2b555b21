#include "codec/hash.h"

#include <openssl/evp.h>

#include <algorithm>

#include "codec/sha256_lanes.h"

namespace cairn::codec {

namespace {

// Fetched once: an implicit fetch at every digest costs more than hashing a small blob.
const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(algorithm != nullptr);
  return algorithm;
}

// FIPS 180-4, 5.3.3.
constexpr Sha256State kBegin = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// A message on its way through one of two lanes: its whole blocks, then those that end it.
class Message {
 public:
  [[nodiscard]] bool idle() const { return id_ == nullptr; }
  [[nodiscard]] const std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t blocks() const { return blocks_; }
  Sha256State& state() { return state_; }

  void begin(ByteView bytes, Id& id) {
    id_ = &id;
    state_ = kBegin;
    const ByteView rest = bytes.subspan(bytes.size() / kSha256BlockBytes * kSha256BlockBytes);
    // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits.
    end_.fill(std::byte{0});
    std::ranges::copy(rest, end_.begin());
    end_.at(rest.size()) = std::byte{0x80};
    end_blocks_ = rest.size() + 9 <= kSha256BlockBytes ? 1 : 2;
    const std::uint64_t bits = std::uint64_t{bytes.size()} * 8;
    for (std::size_t i = 0; i < 8; ++i) {
      end_.at(end_blocks_ * kSha256BlockBytes - 1 - i) = static_cast<std::byte>(bits >> (8 * i));
    }
    data_ = bytes.data();
    blocks_ = bytes.size() / kSha256BlockBytes;
    if (blocks_ == 0) begin_end();
  }

  void advance(std::size_t blocks) {
    data_ += blocks * kSha256BlockBytes;
    blocks_ -= blocks;
    if (blocks_ != 0) return;
    if (end_blocks_ != 0) {
      begin_end();
    } else {
      finish();
    }
  }

 private:
  void begin_end() {
    data_ = end_.data();
    blocks_ = std::exchange(end_blocks_, 0);
  }

  void finish() {
    for (std::size_t i = 0; i < id_->bytes.size(); ++i) {
      id_->bytes.at(i) = static_cast<std::byte>(state_.at(i / 4) >> (24 - 8 * (i % 4)));
    }
    id_ = nullptr;
  }

  const std::byte* data_ = nullptr;
  std::size_t blocks_ = 0;  // left at data_
  std::array<std::byte, 2 * kSha256BlockBytes> end_{};
  std::size_t end_blocks_ = 0;  // zero: data_ is there already
  Sha256State state_{};
  Id* id_ = nullptr;  // null: idle
};

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* raw = EVP_MD_CTX_new();
  Context() { CHECK(raw != nullptr); }
  ~Context() { EVP_MD_CTX_free(raw); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void begin() const { CHECK(EVP_DigestInit_ex2(raw, sha256_algorithm(), nullptr) == 1); }
  [[nodiscard]] Id end() const {
    Id id;
    unsigned size = 0;
    CHECK(EVP_DigestFinal_ex(raw, reinterpret_cast<unsigned char*>(id.bytes.data()), &size) == 1);
    CHECK(size == id.bytes.size());
    return id;
  }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  context_->begin();
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(ByteView bytes) {
  CHECK(EVP_DigestUpdate(context_->raw, bytes.data(), bytes.size()) == 1);
}

void Sha256::restart() {
  context_->begin();
}

Id Sha256::finish() {
  return context_->end();
}

Id sha256(ByteView bytes) {
  // One context a thread: making one costs as much as hashing a kilobyte.
  thread_local Sha256 hasher;
  hasher.restart();
  hasher.update(bytes);
  return hasher.finish();
}

void sha256_all(std::span<const ByteView> parts, std::span<Id> ids) {
  CHECK(parts.size() == ids.size());
  std::size_t next = 0;
  if (has_sha256_lanes() && parts.size() > 1) {
    std::array<Message, 2> lanes;
    for (;;) {
      for (Message& lane : lanes) {
        if (!lane.idle() || next >= parts.size()) continue;
        lane.begin(parts[next], ids[next]);
        ++next;
      }
      auto& [first, second] = lanes;
      if (first.idle() && second.idle()) return;
      if (first.idle() || second.idle()) {
        // The last one is alone: what the other lane does is not looked at.
        Message& last = first.idle() ? second : first;
        Sha256State unused{};
        const std::size_t blocks = last.blocks();
        compress_two(last.state(), unused, last.data(), last.data(), blocks);
        last.advance(blocks);
        continue;
      }
      const std::size_t blocks = std::min(first.blocks(), second.blocks());
      compress_two(first.state(), second.state(), first.data(), second.data(), blocks);
      first.advance(blocks);
      second.advance(blocks);
    }
  }
  for (; next < parts.size(); ++next) ids[next] = sha256(parts[next]);
}

Result<Id> Id::parse(std::string_view text) {
  Id id;
  TRY(parse_hex(text, id.bytes));
  return id;
}

}  // namespace cairn::codec
