#include "docker/reference.h"

#include <algorithm>

#include "base/strings.h"

namespace cairn::docker {

namespace {

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr std::size_t kDigestHexBytes = 64;
// What an image without a registry is of, and its other name.
constexpr std::string_view kHub = "docker.io";
constexpr std::string_view kHubAlias = "index.docker.io";

bool is_lower_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_word(char c) {
  return is_lower_digit(c) || (c >= 'A' && c <= 'Z') || c == '_';
}

// Lower-case letters and digits, joined by one ".", one or two "_", or any number of "-".
bool is_path_part(std::string_view text) {
  if (text.empty() || !is_lower_digit(text.front()) || !is_lower_digit(text.back())) return false;
  std::size_t at = 0;
  while (at < text.size()) {
    if (is_lower_digit(text[at])) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && !is_lower_digit(text[end])) ++end;
    std::string_view joint = text.substr(at, end - at);
    bool dashes = std::ranges::all_of(joint, [](char c) { return c == '-'; });
    if (joint != "." && joint != "_" && joint != "__" && !dashes) return false;
    at = end;
  }
  return true;
}

bool is_path(std::string_view text) {
  return std::ranges::all_of(split(text, '/'), is_path_part);
}

bool is_host_label(std::string_view text) {
  auto fine = [](char c) { return is_lower_digit(c) || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && fine(text.front()) && fine(text.back()) &&
         std::ranges::all_of(text, [&](char c) { return fine(c) || c == '-'; });
}

// host[:port], or an IPv6 address in brackets.
bool is_host(std::string_view text) {
  std::string_view host = text;
  std::size_t host_end = text.starts_with('[') ? text.find(']') : 0;
  if (host_end == std::string_view::npos) return false;
  if (auto colon = text.find(':', host_end); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    auto port = parse_uint(text.substr(colon + 1));
    if (!port || *port == 0 || *port > 65535) return false;
  }
  if (host.starts_with('[')) {
    return host.ends_with(']') && host.size() > 2 &&
           std::ranges::all_of(host.substr(1, host.size() - 2), [](char c) {
             return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
                    c == ':';
           });
  }
  return std::ranges::all_of(split(host, '.'), is_host_label);
}

// The first part names a registry only where it cannot be a path's part.
bool looks_like_registry(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
}

Error wrong(std::string_view part, std::string_view text) {
  return {Code::kInvalid, "image reference: " + std::string(part) + " of " + printable(text)};
}

}  // namespace

bool is_digest(std::string_view text) {
  if (!text.starts_with(kDigestPrefix)) return false;
  text.remove_prefix(kDigestPrefix.size());
  return text.size() == kDigestHexBytes && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_tag(std::string_view text) {
  return !text.empty() && text.size() <= kTagBytesMax && is_word(text.front()) &&
         std::ranges::all_of(text, [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_registry(std::string_view text) {
  return looks_like_registry(text) && is_host(text);
}

std::string full_repository(std::string_view text) {
  const auto parsed = parse_reference(text);
  if (!parsed.ok()) return std::string(text);
  const bool hub =
      parsed->registry.empty() || parsed->registry == kHub || parsed->registry == kHubAlias;
  if (!hub) return parsed->repository();
  const bool official = parsed->path.find('/') == std::string::npos;
  return std::string(kHub) + (official ? "/library/" : "/") + parsed->path;
}

std::string Reference::repository() const {
  return registry.empty() ? path : registry + "/" + path;
}

std::string Reference::version() const {
  if (!digest.empty()) return digest;
  return tag.empty() ? "latest" : tag;
}

std::string Reference::text() const {
  return repository() + (digest.empty() ? ":" : "@") + version();
}

Result<Reference> parse_reference(std::string_view text) {
  // By the grammar it would be the repository "sha256" with a long tag; the engine takes it for an
  // id.
  if (is_digest(text)) return wrong("the repository", text);
  Reference reference;
  std::string_view rest = text;
  if (auto at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_digest(reference.digest)) return wrong("the digest", text);
  }
  // A colon after the last slash begins the tag; one before it belongs to the registry's port.
  auto slash = rest.rfind('/');
  auto colon = rest.find(':', slash == std::string_view::npos ? 0 : slash);
  if (colon != std::string_view::npos) {
    reference.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(reference.tag)) return wrong("the tag", text);
  }
  if (rest.empty() || rest.size() > kRepositoryBytesMax) return wrong("the length", text);

  auto first_slash = rest.find('/');
  if (first_slash != std::string_view::npos && looks_like_registry(rest.substr(0, first_slash))) {
    reference.registry = rest.substr(0, first_slash);
    rest.remove_prefix(first_slash + 1);
    if (!is_host(reference.registry)) return wrong("the registry", text);
  }
  if (!is_path(rest)) return wrong("the repository", text);
  reference.path = rest;
  return reference;
}

}  // namespace cairn::docker
