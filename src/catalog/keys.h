// The secrets of a data directory: the sealing key and the repository's password, files of mode
// 0400 in DATA/keys/. Both are durable before anything that needs them is written. One thread at a
// time.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/sealer.h"
#include "os/dir.h"

namespace cairn::catalog {

inline constexpr std::string_view kKeysDirectory = "keys";
inline constexpr std::string_view kSealingKeyFile = "sealing.key";
inline constexpr std::string_view kRepositoryPasswordFile = "repository.password";
inline constexpr std::string_view kRepositoryDirectory = "repo";

// 64 hex characters and a newline in keys/sealing.key, as the recovery kit shows it. Made where it
// is missing; kCorrupt where it is missing although a catalog exists (a new key could not open its
// secrets), or is not such text.
Result<codec::SealingKey> load_or_create_sealing_key(const os::Dir& data);

// One line in keys/repository.password, without the newline. Made (256 random bits as hex) where it
// is missing; kCorrupt where it is missing although DATA/repo/config exists.
Result<std::string> load_or_create_repository_password(const os::Dir& data);

}  // namespace cairn::catalog
