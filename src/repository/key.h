// Key files: a password opens the master key. Plain JSON around a sealed box (docs/formats.md).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/crypto.h"

namespace cairn::repository {

class Backend;
struct Owner;

// Makes the JSON of a key file: master sealed under password with fresh salt.
Result<std::string> encode_key(const codec::BoxKey& master,
                               std::string_view password,
                               const Owner& owner);
// kInvalid: not a key file. kDenied: not this password.
Result<codec::BoxKey> open_key(std::string_view json, std::string_view password);
// Tries every key file, at most kKeysMax; kDenied where none opens.
Result<codec::BoxKey> find_key(Backend& backend, std::string_view password);

}  // namespace cairn::repository
