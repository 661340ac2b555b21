#include "codec/hash.h"

#include <openssl/evp.h>

namespace cairn::codec {

namespace {

// Fetched once: an implicit fetch at every digest costs more than hashing a small blob.
const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CHECK(algorithm != nullptr);
  return algorithm;
}

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

Result<Id> Id::parse(std::string_view text) {
  Id id;
  TRY(parse_hex(text, id.bytes));
  return id;
}

}  // namespace cairn::codec
