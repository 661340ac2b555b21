// EngineClient: images and registries.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/strings.h"
#include "docker/client.h"
#include "docker/inspect.h"
#include "docker/json_read.h"
#include "docker/pull.h"
#include "docker/reference.h"
#include "docker/wire.h"

namespace cairn::docker {

namespace {

// Between two lines of a pull; unpacking a large layer says nothing for long.
constexpr int kPullIdleMs = 15 * 60 * 1000;
constexpr std::size_t kReferenceBytesMax = 512;
// Two empty blocks: the end of a tar archive without entries (POSIX pax format).
constexpr std::size_t kEmptyTarBytes = 1024;

// Ids and references only; nothing that could lead elsewhere in a request's path.
Status check_image_name(std::string_view name) {
  std::string_view hex = name.starts_with("sha256:") ? name.substr(7) : name;
  bool id = hex.size() == 64 && std::ranges::all_of(hex, [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            });
  if (id) return {};
  if (name.size() > kReferenceBytesMax) return Error(Code::kInvalid, "image reference is too long");
  TRY(parse_reference(name));
  return {};
}

void add_auth(const std::optional<RegistryAuth>& auth, net::Request& request) {
  if (auth) request.headers.push_back({.name = "X-Registry-Auth", .value = format_auth(*auth)});
}

}  // namespace

Result<std::optional<Image>> EngineClient::find_image(const std::string& reference) {
  TRY(check_image_name(reference));
  auto document = wire_->get_json("/images/" + reference + "/json");
  if (!document.ok()) {
    if (document.error().code() == Code::kNotFound) return std::optional<Image>();
    return document.error();
  }
  TRY_ASSIGN(Image image, parse_image(*document));
  return std::optional(std::move(image));
}

Status EngineClient::pull_image(const std::string& repository,
                                const std::string& version,
                                const std::optional<RegistryAuth>& auth,
                                Progress& progress,
                                std::stop_token stop) {
  TRY_ASSIGN(Reference parsed, parse_reference(repository));
  if (!parsed.tag.empty() || !parsed.digest.empty()) {
    return Error(Code::kInvalid, "a repository is named without a tag: " + repository);
  }
  if (!is_tag(version) && !is_digest(version)) {
    return Error(Code::kInvalid, "neither a tag nor a digest: " + printable(version));
  }

  net::Request request{
      .method = "POST",
      .target = "/images/create" + query({{"fromImage", repository}, {"tag", version}}),
      .headers = {},
      .body = {}};
  add_auth(auth, request);
  PullReader reader(progress);
  Status read;
  Status streamed = wire_->stream(std::move(request),
                                  {.total_ms = net::kNoTimeout,
                                   .idle_ms = kPullIdleMs,
                                   .body_bytes_max = net::kBodyBytesMax,
                                   .stop = std::move(stop)},
                                  [&](std::string_view bytes) {
                                    read = reader.feed(bytes);
                                    return read.ok();
                                  });
  std::string what =
      fmt::format("pull {}{}{}", repository, is_digest(version) ? "@" : ":", version);
  if (!streamed.ok()) {
    // A registry that cannot be reached is the engine's 500.
    const Error& error = streamed.error();
    Code code = error.code() == Code::kInternal ? code_of_pull(error.message()) : error.code();
    return error.with_code(code).with_context(what);
  }
  if (!read.ok()) return read.error().with_context(what);
  TRY_CONTEXT(reader.end(), what);
  return {};
}

Result<std::string> EngineClient::distribution_digest(const std::string& reference,
                                                      const std::optional<RegistryAuth>& auth) {
  TRY(parse_reference(reference));
  net::Request request{
      .method = "GET", .target = "/distribution/" + reference + "/json", .headers = {}, .body = {}};
  add_auth(auth, request);
  auto reply = wire_->call(std::move(request), {});
  if (!reply.ok()) {
    const Error& error = reply.error();
    Code code = error.code() == Code::kInternal ? code_of_pull(error.message()) : error.code();
    return error.with_code(code).with_context("look up " + reference);
  }
  TRY_ASSIGN(nlohmann::json document, parse_json(reply->body));
  JsonFault fault;
  std::string digest = JsonReader(document, fault).object("Descriptor").text("digest");
  TRY(fault.status());
  if (!is_digest(digest)) return Error(Code::kCorrupt, "the engine's reply: no digest");
  return digest;
}

Result<std::string> EngineClient::import_empty_image(const std::string& repository,
                                                     const std::string& tag) {
  TRY_ASSIGN(Reference parsed, parse_reference(repository));
  if (!parsed.tag.empty() || !parsed.digest.empty() || !is_tag(tag)) {
    return Error(Code::kInvalid, "an image is imported as repository and tag");
  }
  net::Request request{
      .method = "POST",
      .target = "/images/create" + query({{"fromSrc", "-"}, {"repo", repository}, {"tag", tag}}),
      .headers = {{.name = "Content-Type", .value = "application/x-tar"}},
      .body = std::string(kEmptyTarBytes, '\0')};
  NoProgress nobody;
  PullReader reader(nobody);
  TRY_ASSIGN(net::Response reply, wire_->call(std::move(request), {}));
  TRY_CONTEXT(reader.feed(reply.body), "import " + repository);
  TRY_CONTEXT(reader.end(), "import " + repository);
  TRY_ASSIGN(std::optional<Image> image, find_image(repository + ":" + tag));
  if (!image) return Error(Code::kInternal, "import " + repository + ": no image came of it");
  return image->id;
}

}  // namespace cairn::docker
