#include "codec/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <bit>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cairn::codec {

namespace {

// Blobs and packs stay far below this; OpenSSL counts in int.
int checked_int(std::size_t size) {
  CHECK(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  return static_cast<int>(size);
}

// OpenSSL's Poly1305 leaves the upper halves of the vector registers in use. Until they are zero,
// SSE instructions wait for each other: SHA-256 and zstd take up to 2.5 times as long (Zen 5).
#if defined(__x86_64__)
__attribute__((target("avx"))) void zero_upper_halves() {
  _mm256_zeroupper();
}

void leave_vector_registers() {
  static const bool has_them = __builtin_cpu_supports("avx") != 0;
  if (has_them) zero_upper_halves();
}
#else
void leave_vector_registers() {}
#endif

}  // namespace

void random_bytes(std::span<std::byte> out) {
  CHECK(RAND_bytes(raw(out.data()), checked_int(out.size())) == 1);
}

BoxKey random_box_key() {
  BoxKey key;
  random_bytes(key.encrypt);
  random_bytes(key.mac_k);
  random_bytes(key.mac_r);
  return key;
}

struct Box::Contexts {
  EVP_CIPHER_CTX* stream = EVP_CIPHER_CTX_new();
  EVP_CIPHER_CTX* nonce = EVP_CIPHER_CTX_new();
  EVP_MAC_CTX* mac = nullptr;
  std::array<std::byte, 16> mac_r{};

  explicit Contexts(const BoxKey& key) : mac_r(key.mac_r) {
    CHECK(stream != nullptr && nonce != nullptr);
    CHECK(EVP_EncryptInit_ex(stream, EVP_aes_256_ctr(), nullptr, raw(key.encrypt.data()),
                             nullptr) == 1);
    CHECK(EVP_EncryptInit_ex(nonce, EVP_aes_128_ecb(), nullptr, raw(key.mac_k.data()), nullptr) ==
          1);
    CHECK(EVP_CIPHER_CTX_set_padding(nonce, 0) == 1);
    EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "POLY1305", nullptr);
    CHECK(algorithm != nullptr);
    mac = EVP_MAC_CTX_new(algorithm);
    EVP_MAC_free(algorithm);
    CHECK(mac != nullptr);
  }
  ~Contexts() {
    EVP_CIPHER_CTX_free(stream);
    EVP_CIPHER_CTX_free(nonce);
    EVP_MAC_CTX_free(mac);
    OPENSSL_cleanse(mac_r.data(), mac_r.size());
  }
  Contexts(const Contexts&) = delete;
  Contexts& operator=(const Contexts&) = delete;

  void crypt(const std::byte* iv, ByteView in, std::byte* out) const {
    int done = 0;
    CHECK(EVP_EncryptInit_ex(stream, nullptr, nullptr, nullptr, raw(iv)) == 1);
    CHECK(EVP_EncryptUpdate(stream, raw(out), &done, raw(in.data()), checked_int(in.size())) == 1);
    CHECK(static_cast<std::size_t>(done) == in.size());
  }

  // Poly1305-AES: the one-time key is r followed by AES-128 of the nonce under k.
  void authenticate(const std::byte* iv, ByteView cipher_text, std::byte* tag) const {
    std::array<std::byte, 32> key{};
    std::copy(mac_r.begin(), mac_r.end(), key.begin());
    int done = 0;
    CHECK(EVP_EncryptUpdate(nonce, raw(key.data() + 16), &done, raw(iv), 16) == 1 && done == 16);
    CHECK(EVP_MAC_init(mac, raw(key.data()), key.size(), nullptr) == 1);
    CHECK(EVP_MAC_update(mac, raw(cipher_text.data()), cipher_text.size()) == 1);
    std::size_t size = 0;
    CHECK(EVP_MAC_final(mac, raw(tag), &size, kMacBytes) == 1 && size == kMacBytes);
    leave_vector_registers();
    OPENSSL_cleanse(key.data(), key.size());
  }

  [[nodiscard]] Status check(ByteView sealed) const {
    if (sealed.size() < kBoxOverheadBytes) {
      return Error(Code::kCorrupt, "sealed bytes are too short");
    }
    const ByteView cipher_text = sealed.subspan(kIvBytes, sealed.size() - kBoxOverheadBytes);
    std::array<std::byte, kMacBytes> tag{};
    authenticate(sealed.data(), cipher_text, tag.data());
    if (CRYPTO_memcmp(tag.data(), cipher_text.data() + cipher_text.size(), kMacBytes) != 0) {
      return Error(Code::kCorrupt, "sealed bytes do not authenticate");
    }
    return {};
  }
};

Box::Box(const BoxKey& key) : contexts_(std::make_unique<Contexts>(key)) {}
Box::~Box() = default;
Box::Box(Box&&) noexcept = default;
Box& Box::operator=(Box&&) noexcept = default;

void Box::seal(ByteView plain, Bytes& out) {
  const std::size_t start = out.size();
  out.resize(start + plain.size() + kBoxOverheadBytes);
  seal_into(plain, std::span(out).subspan(start));
}

void Box::seal_into(ByteView plain, std::span<std::byte> out) {
  CHECK(out.size() == plain.size() + kBoxOverheadBytes);
  std::byte* iv = out.data();
  std::byte* cipher_text = iv + kIvBytes;
  random_bytes({iv, kIvBytes});
  contexts_->crypt(iv, plain, cipher_text);
  contexts_->authenticate(iv, {cipher_text, plain.size()}, cipher_text + plain.size());
}

Status Box::open(ByteView sealed, Bytes& out) {
  TRY(contexts_->check(sealed));
  const ByteView cipher_text = sealed.subspan(kIvBytes, sealed.size() - kBoxOverheadBytes);
  out.resize(cipher_text.size());
  contexts_->crypt(sealed.data(), cipher_text, out.data());
  return {};
}

Result<ByteView> Box::open_in_place(std::span<std::byte> sealed) {
  TRY(contexts_->check(sealed));
  const auto text = sealed.subspan(kIvBytes, sealed.size() - kBoxOverheadBytes);
  contexts_->crypt(sealed.data(), text, text.data());
  return ByteView(text);
}

Result<BoxKey> derive_box_key(std::string_view password,
                              ByteView salt,
                              const ScryptParameters& parameters) {
  const auto [n, r, p] = parameters;
  if (salt.size() != kSaltBytes) return Error(Code::kInvalid, "the salt is not 64 bytes");
  if (n < 2 || !std::has_single_bit(n) || r < 1 || r > 64 || p < 1 || p > 64 ||
      n > kScryptMemoryBytesMax / 128 / r) {
    return Error(Code::kInvalid, "scrypt parameters are outside the limits");
  }
  std::array<std::byte, 64> derived{};
  if (EVP_PBE_scrypt(password.data(), password.size(), raw(salt.data()), salt.size(), n, r, p,
                     kScryptMemoryBytesMax + kScryptMemoryBytesMax / 4, raw(derived.data()),
                     derived.size()) != 1) {
    return Error(Code::kInternal, "scrypt failed");
  }
  BoxKey key;
  std::copy_n(derived.begin(), 32, key.encrypt.begin());
  std::copy_n(derived.begin() + 32, 16, key.mac_k.begin());
  std::copy_n(derived.begin() + 48, 16, key.mac_r.begin());
  OPENSSL_cleanse(derived.data(), derived.size());
  return key;
}

}  // namespace cairn::codec
