#include "docker/pull.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/strings.h"
#include "docker/json_read.h"

namespace cairn::docker {

namespace {

constexpr std::size_t kMessageBytesMax = 1000;

bool contains(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

}  // namespace

std::string format_auth(const RegistryAuth& auth) {
  nlohmann::json json = nlohmann::json::object();
  if (!auth.identity_token.empty()) {
    json["identitytoken"] = auth.identity_token;
  } else {
    json["username"] = auth.username;
    json["password"] = auth.password;
  }
  if (!auth.server_address.empty()) json["serveraddress"] = auth.server_address;
  // A secret that is not UTF-8 cannot be sent in JSON at all; the registry refuses what is left.
  std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
  std::string encoded = to_base64(as_bytes(text));
  std::ranges::replace(encoded, '+', '-');
  std::ranges::replace(encoded, '/', '_');
  return encoded;
}

Code code_of_pull(std::string_view message) {
  if (contains(message, "no space left on device")) return Code::kNoSpace;
  if (contains(message, "unauthorized") || contains(message, "denied") ||
      contains(message, "no basic auth credentials")) {
    return Code::kDenied;
  }
  if (contains(message, "not found") || contains(message, "manifest unknown")) {
    return Code::kNotFound;
  }
  return Code::kUnavailable;
}

Status PullReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    auto end = bytes.find('\n');
    std::string_view part = bytes.substr(0, end);
    if (line_.size() + part.size() > kPullLineBytesMax) {
      return Error(Code::kCorrupt, "the engine's progress has too long a line");
    }
    line_ += part;
    if (end == std::string_view::npos) return {};
    bytes.remove_prefix(end + 1);
    TRY(line());
  }
  return {};
}

Status PullReader::end() {
  return line();
}

Status PullReader::line() {
  std::string text = std::move(line_);
  line_.clear();
  if (trim(text).empty()) return {};
  TRY_ASSIGN(nlohmann::json document, parse_json(text));
  JsonFault fault;
  JsonReader root(document, fault);
  JsonReader detail = root.object("progressDetail");
  std::string failure = root.object("errorDetail").text("message");
  if (failure.empty()) failure = root.text("error");
  std::string status = root.text("status");
  std::string id = root.text("id");
  auto current = static_cast<std::uint64_t>(std::max<std::int64_t>(detail.integer("current"), 0));
  auto total = static_cast<std::uint64_t>(std::max<std::int64_t>(detail.integer("total"), 0));
  TRY(fault.status());
  if (!failure.empty()) {
    return Error(code_of_pull(failure), "engine: " + printable(failure, kMessageBytesMax));
  }

  // Unpacking counts the same layer once more, so that only the download is shown.
  if (id.empty() || layers_.size() >= kPullLayersMax) return {};
  if (status == "Downloading") {
    layers_[id] = {.done = current, .total = total};
    count();
  } else if (status == "Download complete" && layers_.contains(id)) {
    layers_[id].done = layers_[id].total;
    count();
  }
  return {};
}

void PullReader::count() {
  Progress::Count sum;
  for (const auto& [id, layer] : layers_) {
    sum.bytes_done += layer.done;
    sum.bytes_total += layer.total;
    sum.items_total += 1;
    sum.items_done += layer.total != 0 && layer.done == layer.total ? 1 : 0;
  }
  progress_.count(sum);
}

}  // namespace cairn::docker
