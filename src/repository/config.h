// The repository's config file: version, id and restic's chunker polynomial. Pure but for the
// random numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cairn::repository {

struct Config {
  std::uint64_t version = 2;
  std::string id;                        // 64 hex digits
  std::uint64_t chunker_polynomial = 0;  // irreducible over GF(2), degree 53; used by restic only
};

Config make_config();
std::string encode_config(const Config& config);
// kCorrupt; kInvalid for a version other than 2.
Result<Config> parse_config(std::string_view json);

// Over GF(2), bits as coefficients (Ben-Or's test).
bool is_irreducible(std::uint64_t polynomial);

}  // namespace cairn::repository
