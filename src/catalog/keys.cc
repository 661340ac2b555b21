#include "catalog/keys.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/strings.h"
#include "catalog/catalog.h"

namespace cairn::catalog {

namespace {

constexpr std::uint32_t kDirectoryMode = 0700;
constexpr std::uint32_t kFileMode = 0400;
constexpr std::size_t kSecretFileBytesMax = 4096;

// The whole file without its newline; nothing where it does not exist.
Result<std::optional<std::string>> find_secret(const os::Dir& keys, const std::string& name) {
  TRY_ASSIGN(const auto there, keys.find(name));
  if (!there) return std::optional<std::string>();
  TRY_ASSIGN(const std::string text, keys.read_file(name, kSecretFileBytesMax));
  return std::optional<std::string>(trim(text));
}

Result<os::Dir> ensure_keys(const os::Dir& data) {
  TRY_ASSIGN(os::Dir keys, data.ensure_dir(std::string(kKeysDirectory), kDirectoryMode));
  TRY(data.sync());
  return keys;
}

}  // namespace

Result<codec::SealingKey> load_or_create_sealing_key(const os::Dir& data) {
  const std::string name(kSealingKeyFile);
  const std::string what = fmt::format("{}/{}", kKeysDirectory, kSealingKeyFile);
  TRY_ASSIGN(const os::Dir keys, ensure_keys(data));
  TRY_ASSIGN(const auto text, find_secret(keys, name));
  if (text) {
    auto key = codec::parse_sealing_key(*text);
    if (!key.ok()) return key.error().with_code(Code::kCorrupt).with_context(what);
    return key;
  }

  TRY_ASSIGN(const auto catalog, data.find(std::string(kCatalogFile)));
  if (catalog) {
    return Error(Code::kCorrupt,
                 fmt::format("{} is missing, and the catalog's secrets cannot be opened without "
                             "it: put it back from the recovery kit",
                             what));
  }
  const codec::SealingKey key = codec::make_sealing_key();
  const std::string line = codec::to_text(key) + "\n";
  TRY_CONTEXT(keys.publish_file(name, as_bytes(line), kFileMode), what);
  return key;
}

Result<std::string> load_or_create_repository_password(const os::Dir& data) {
  const std::string name(kRepositoryPasswordFile);
  const std::string what = fmt::format("{}/{}", kKeysDirectory, kRepositoryPasswordFile);
  TRY_ASSIGN(const os::Dir keys, ensure_keys(data));
  TRY_ASSIGN(const auto text, find_secret(keys, name));
  if (text) {
    if (text->empty()) return Error(Code::kCorrupt, fmt::format("{} is empty", what));
    return *text;
  }

  TRY_ASSIGN(const auto directory, data.find(std::string(kRepositoryDirectory)));
  if (directory) {
    TRY_ASSIGN(const os::Dir repository, data.open_dir(std::string(kRepositoryDirectory)));
    TRY_ASSIGN(const auto config, repository.find("config"));
    if (config) {
      return Error(Code::kCorrupt,
                   fmt::format("{} is missing, and the repository cannot be opened without it: put "
                               "it back from the recovery kit",
                               what));
    }
  }
  // Hex, so that nobody has to quote it.
  const std::string password = codec::to_text(codec::make_sealing_key());
  TRY_CONTEXT(keys.publish_file(name, as_bytes(password + "\n"), kFileMode), what);
  return password;
}

}  // namespace cairn::catalog
