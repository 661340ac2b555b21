#include "codec/sealer.h"

#include <fmt/format.h>
#include <sodium.h>

#include <cstring>

#include "base/check.h"

namespace cairn::codec {

namespace {

constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
static_assert(kSealingKeyBytes == crypto_aead_xchacha20poly1305_ietf_KEYBYTES);
static_assert(kSealedOverheadBytes == 1 + kNonceBytes + kTagBytes);

// Idempotent and thread-safe; it fails only where the kernel gives no random bytes.
void start_sodium() {
  CHECK(sodium_init() >= 0);
}

// The key version is authenticated with what the bytes belong to; the length keeps them apart.
std::string additional_data(std::uint8_t key_version, std::string_view bound_to) {
  return fmt::format("cairn:{}:{}:{}", key_version, bound_to.size(), bound_to);
}

}  // namespace

SealingKey make_sealing_key() {
  start_sodium();
  SealingKey key;
  randombytes_buf(key.data(), key.size());
  return key;
}

std::string to_text(const SealingKey& key) {
  return to_hex(key);
}

Result<SealingKey> parse_sealing_key(std::string_view text) {
  SealingKey key;
  // The text is secret: the message of parse_hex might show it.
  if (!parse_hex(text, key).ok()) {
    return Error(Code::kInvalid, "a sealing key is 64 lower-case hex characters");
  }
  return key;
}

Sealer::Sealer(const SealingKey& key, std::uint8_t key_version)
    : key_(key), key_version_(key_version) {
  start_sodium();
}

Sealer::~Sealer() {
  sodium_memzero(key_.data(), key_.size());
}

Bytes Sealer::seal(std::string_view plain, std::string_view bound_to) const {
  const std::string additional = additional_data(key_version_, bound_to);
  Bytes sealed(kSealedOverheadBytes + plain.size());
  sealed[0] = std::byte{key_version_};
  std::byte* nonce = sealed.data() + 1;
  // 192 random bits: two nonces never meet by chance.
  randombytes_buf(nonce, kNonceBytes);
  unsigned long long written = 0;
  const ByteView plain_bytes = as_bytes(plain);
  const ByteView additional_bytes = as_bytes(additional);
  crypto_aead_xchacha20poly1305_ietf_encrypt(
      raw(sealed.data() + 1 + kNonceBytes), &written, raw(plain_bytes.data()), plain_bytes.size(),
      raw(additional_bytes.data()), additional_bytes.size(), nullptr, raw(nonce), raw(key_.data()));
  CHECK(written == plain.size() + kTagBytes);
  return sealed;
}

Result<std::string> Sealer::open(ByteView sealed, std::string_view bound_to) const {
  if (sealed.size() < kSealedOverheadBytes) {
    return Error(Code::kCorrupt, "sealed bytes are too short");
  }
  const auto key_version = std::to_integer<std::uint8_t>(sealed[0]);
  if (key_version != key_version_) {
    return Error(Code::kCorrupt,
                 fmt::format("sealed with key version {}, the key here has version {}", key_version,
                             key_version_));
  }
  const std::string additional = additional_data(key_version_, bound_to);
  const ByteView additional_bytes = as_bytes(additional);
  const ByteView nonce = sealed.subspan(1, kNonceBytes);
  const ByteView cipher = sealed.subspan(1 + kNonceBytes);
  std::string plain(cipher.size() - kTagBytes, '\0');
  unsigned long long written = 0;
  const int failed = crypto_aead_xchacha20poly1305_ietf_decrypt(
      reinterpret_cast<unsigned char*>(plain.data()), &written, nullptr, raw(cipher.data()),
      cipher.size(), raw(additional_bytes.data()), additional_bytes.size(), raw(nonce.data()),
      raw(key_.data()));
  if (failed != 0) {
    return Error(Code::kCorrupt, "sealed bytes do not open: another key, another row, or damaged");
  }
  return plain;
}

}  // namespace cairn::codec
