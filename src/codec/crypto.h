// The box around every stored byte: AES-256-CTR and Poly1305-AES, encrypt then authenticate, and
// the scrypt derivation (RFC 7914) of a key from a password. docs/formats.md has the layout.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::codec {

inline constexpr std::size_t kIvBytes = 16;
inline constexpr std::size_t kMacBytes = 16;
inline constexpr std::size_t kBoxOverheadBytes = kIvBytes + kMacBytes;

struct BoxKey {
  std::array<std::byte, 32> encrypt{};
  std::array<std::byte, 16> mac_k{};
  std::array<std::byte, 16> mac_r{};
  bool operator==(const BoxKey&) const = default;
};

// From the system's generator; a failing generator aborts.
void random_bytes(std::span<std::byte> out);
BoxKey random_box_key();

// Seals and opens with one key. Holds cipher contexts: one thread at a time, make one a thread.
class Box {
 public:
  explicit Box(const BoxKey& key);
  ~Box();
  Box(Box&&) noexcept;
  Box& operator=(Box&&) noexcept;

  // Appends IV, ciphertext and MAC of plain to out: kBoxOverheadBytes more than plain. The IV is
  // random.
  void seal(ByteView plain, Bytes& out);
  // The same into out, which is plain.size() + kBoxOverheadBytes long.
  void seal_into(ByteView plain, std::span<std::byte> out);
  // Replaces out with the plaintext. kCorrupt unless the MAC is right, before anything is
  // decrypted.
  Status open(ByteView sealed, Bytes& out);
  // The same where the sealed bytes lie, without a copy: the plaintext is a part of sealed.
  Result<ByteView> open_in_place(std::span<std::byte> sealed);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

struct ScryptParameters {
  std::uint64_t n = 0;
  std::uint32_t r = 0;
  std::uint32_t p = 0;
};
inline constexpr std::size_t kSaltBytes = 64;
// More memory or work than this is refused: a hostile key file must not stop the machine.
inline constexpr std::uint64_t kScryptMemoryBytesMax = std::uint64_t{1} << 30U;

// kInvalid for parameters that scrypt or the limits forbid.
Result<BoxKey> derive_box_key(std::string_view password,
                              ByteView salt,
                              const ScryptParameters& parameters);

}  // namespace cairn::codec
