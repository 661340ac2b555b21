#include "repository/config.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>
#include <utility>

#include "base/bytes.h"
#include "codec/crypto.h"
#include "codec/hash.h"
#include "repository/json_reader.h"

namespace cairn::repository {

namespace {

constexpr unsigned kPolynomialDegree = 53;

unsigned degree(std::uint64_t p) {
  return static_cast<unsigned>(std::bit_width(p)) - 1;
}

std::uint64_t remainder(std::uint64_t a, std::uint64_t b) {
  while (a != 0 && degree(a) >= degree(b)) a ^= b << (degree(a) - degree(b));
  return a;
}

std::uint64_t greatest_common_divisor(std::uint64_t a, std::uint64_t b) {
  while (b != 0) a = std::exchange(b, remainder(a, b));
  return a;
}

// a * b mod m; a and b are reduced, so that shifting one step never loses a bit.
std::uint64_t multiply(std::uint64_t a, std::uint64_t b, std::uint64_t m) {
  std::uint64_t out = 0;
  for (; b != 0; b >>= 1U) {
    if ((b & 1U) != 0) out ^= a;
    a = remainder(a << 1U, m);
  }
  return out;
}

}  // namespace

bool is_irreducible(std::uint64_t polynomial) {
  if (polynomial < 4 || degree(polynomial) > 62) return false;
  constexpr std::uint64_t kX = 2;
  std::uint64_t power = kX;  // x^(2^i) mod polynomial
  for (unsigned i = 0; i < degree(polynomial) / 2; ++i) {
    power = multiply(power, power, polynomial);
    if (greatest_common_divisor(polynomial, power ^ kX) != 1) return false;
  }
  return true;
}

Config make_config() {
  Config config;
  codec::Id id;
  codec::random_bytes(id.bytes);
  config.id = id.hex();
  do {
    std::array<std::byte, 8> random{};
    codec::random_bytes(random);
    const std::uint64_t top = std::uint64_t{1} << kPolynomialDegree;
    config.chunker_polynomial = (load_le64(random.data()) & (top - 1)) | top | 1U;
  } while (!is_irreducible(config.chunker_polynomial));
  return config;
}

std::string encode_config(const Config& config) {
  return fmt::format(R"({{"version":{},"id":"{}","chunker_polynomial":"{:x}"}})", config.version,
                     config.id, config.chunker_polynomial);
}

Result<Config> parse_config(std::string_view json) {
  JsonReader reader(json);
  Config config;
  config.version = 0;
  std::string key;
  std::string polynomial;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key == "version") {
      config.version = reader.number();
    } else if (key == "id") {
      reader.string(config.id);
    } else if (key == "chunker_polynomial") {
      reader.string(polynomial);
    } else {
      reader.skip();
    }
  }
  TRY_CONTEXT(reader.finish(), "repository config");
  if (config.version != 2) {
    return Error(Code::kInvalid, fmt::format("the repository has format version {}, Cairn knows 2",
                                             config.version));
  }
  TRY_CONTEXT(codec::Id::parse(config.id), "repository config: id");
  const auto [end, error] = std::from_chars(
      polynomial.data(), polynomial.data() + polynomial.size(), config.chunker_polynomial, 16);
  if (error != std::errc() || end != polynomial.data() + polynomial.size()) {
    return Error(Code::kCorrupt, "repository config: chunker polynomial");
  }
  return config;
}

}  // namespace cairn::repository
