#include "repository/key.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "repository/backend/backend.h"
#include "repository/limits.h"
#include "repository/repository.h"

namespace cairn::repository {

namespace {

// The cost that restic calibrates to on common machines: about 32 MiB and a tenth of a second.
constexpr codec::ScryptParameters kScrypt = {.n = 32768, .r = 8, .p = 4};

std::string box_key_json(const codec::BoxKey& key) {
  nlohmann::ordered_json out;
  out["mac"]["k"] = to_base64(key.mac_k);
  out["mac"]["r"] = to_base64(key.mac_r);
  out["encrypt"] = to_base64(key.encrypt);
  return out.dump();
}

Error not_a_key(std::string_view why) {
  return Error(Code::kInvalid, "not a key file: " + std::string(why));
}

// The bytes of a base64 member, exactly as many as out holds.
Status read_base64(const nlohmann::json& object, const char* name, std::span<std::byte> out) {
  const auto member = object.find(name);
  if (member == object.end() || !member->is_string()) return not_a_key(name);
  TRY_ASSIGN(const Bytes bytes, parse_base64(member->get_ref<const std::string&>()));
  if (bytes.size() != out.size()) return not_a_key(name);
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return {};
}

Result<codec::BoxKey> parse_box_key(std::string_view text) {
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  if (!parsed.is_object()) return not_a_key("the master key is no object");
  const auto mac = parsed.find("mac");
  if (mac == parsed.end() || !mac->is_object()) return not_a_key("mac");
  codec::BoxKey key;
  TRY(read_base64(*mac, "k", key.mac_k));
  TRY(read_base64(*mac, "r", key.mac_r));
  TRY(read_base64(parsed, "encrypt", key.encrypt));
  const codec::BoxKey zero;
  if (key.encrypt == zero.encrypt || key.mac_k == zero.mac_k || key.mac_r == zero.mac_r) {
    return not_a_key("the master key is zero");
  }
  return key;
}

std::uint64_t whole_number(const nlohmann::json& object, const char* name) {
  const auto member = object.find(name);
  if (member == object.end() || !member->is_number_unsigned()) return 0;
  return member->get<std::uint64_t>();
}

}  // namespace

Result<std::string> encode_key(const codec::BoxKey& master,
                               std::string_view password,
                               const Owner& owner) {
  Bytes salt(codec::kSaltBytes);
  codec::random_bytes(salt);
  TRY_ASSIGN(const codec::BoxKey user, codec::derive_box_key(password, salt, kScrypt));
  Bytes sealed;
  codec::Box(user).seal(as_bytes(box_key_json(master)), sealed);
  nlohmann::ordered_json out;
  out["created"] = to_rfc3339(wall_now());
  out["username"] = owner.username;
  out["hostname"] = owner.hostname;
  out["kdf"] = "scrypt";
  out["N"] = kScrypt.n;
  out["r"] = kScrypt.r;
  out["p"] = kScrypt.p;
  out["salt"] = to_base64(salt);
  out["data"] = to_base64(sealed);
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<codec::BoxKey> open_key(std::string_view text, std::string_view password) {
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  if (!parsed.is_object()) return not_a_key("no object");
  if (parsed.value("kdf", nlohmann::json()) != "scrypt") return not_a_key("kdf is not scrypt");
  const std::uint64_t r = whole_number(parsed, "r");
  const std::uint64_t p = whole_number(parsed, "p");
  if (r > UINT32_MAX || p > UINT32_MAX) return not_a_key("scrypt parameters");
  const codec::ScryptParameters parameters{.n = whole_number(parsed, "N"),
                                           .r = static_cast<std::uint32_t>(r),
                                           .p = static_cast<std::uint32_t>(p)};
  Bytes salt(codec::kSaltBytes);
  TRY(read_base64(parsed, "salt", salt));
  const auto data = parsed.find("data");
  if (data == parsed.end() || !data->is_string()) return not_a_key("data");
  TRY_ASSIGN(const Bytes sealed, parse_base64(data->get_ref<const std::string&>()));
  TRY_ASSIGN(const codec::BoxKey user, codec::derive_box_key(password, salt, parameters));
  Bytes plain;
  if (!codec::Box(user).open(sealed, plain).ok()) {
    return Error(Code::kDenied, "the password does not open this key");
  }
  return parse_box_key(as_text(plain));
}

Result<codec::BoxKey> find_key(Backend& backend, std::string_view password) {
  TRY_ASSIGN(const std::vector<StoredFile> files, backend.list(FileKind::kKey));
  std::size_t tried = 0;
  Error last(Code::kDenied, "no key of the repository opens with this password");
  for (const StoredFile& file : files) {
    if (tried++ == kKeysMax) break;
    TRY_ASSIGN(const Bytes text, backend.load(FileKind::kKey, file.name, kSmallFileBytesMax));
    // A file that is not named by its content was cut short or changed.
    if (codec::sha256(text).hex() != file.name) {
      last = Error(Code::kCorrupt, "key " + file.name.substr(0, 8) + " is damaged");
      continue;
    }
    auto key = open_key(as_text(text), password);
    if (key.ok()) return key;
    if (key.error().code() != Code::kDenied) {
      last = key.error().with_context("key " + file.name.substr(0, 8));
    }
  }
  return last;
}

}  // namespace cairn::repository
