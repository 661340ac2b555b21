// Sealer: secrets at rest, with XChaCha20-Poly1305 (libsodium; draft-irtf-cfrg-xchacha). Sealed
// bytes are: key version (1), nonce (24, random), ciphertext, tag (16). The additional data binds
// them to the row they belong to: sealed text copied to another row does not open. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace cairn::codec {

inline constexpr std::size_t kSealingKeyBytes = 32;
inline constexpr std::size_t kSealedOverheadBytes = 1 + 24 + 16;

using SealingKey = std::array<std::byte, kSealingKeyBytes>;

// A new random key.
SealingKey make_sealing_key();
// 64 lower-case hex characters, and back (kInvalid).
std::string to_text(const SealingKey& key);
Result<SealingKey> parse_sealing_key(std::string_view text);

class Sealer {
 public:
  explicit Sealer(const SealingKey& key, std::uint8_t key_version = 1);
  // The key is wiped.
  ~Sealer();
  Sealer(const Sealer&) = default;
  Sealer& operator=(const Sealer&) = default;

  // bound_to: what the bytes belong to, for example "workloads/wl_.../env".
  [[nodiscard]] Bytes seal(std::string_view plain, std::string_view bound_to) const;
  // kCorrupt where key, row or bytes are not those of seal().
  [[nodiscard]] Result<std::string> open(ByteView sealed, std::string_view bound_to) const;

 private:
  SealingKey key_;
  std::uint8_t key_version_;
};

}  // namespace cairn::codec
