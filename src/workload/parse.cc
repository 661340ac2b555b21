// Definition text -> JSON value -> typed fields; every fault is collected before anything fails.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/strings.h"
#include "codec/json_scan.h"
#include "docker/reference.h"
#include "workload/config.h"
#include "workload/fields.h"
#include "workload/limits.h"
#include "workload/toml_json.h"

namespace cairn::workload {
namespace {

using nlohmann::json;

constexpr std::int64_t kPortMax = 65535;

std::vector<Face> parse_faces(const json& list,
                              const std::string& path,
                              std::vector<Reason>& faults) {
  std::vector<Face> faces;
  if (!list.is_array() || list.size() > kFacesMax) {
    faults.push_back({path, "wrong_type", fmt::format("must be a list of at most {}", kFacesMax)});
    return faces;
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    Fields fields(list[i], fmt::format("{}[{}]", path, i), faults);
    Face face;
    std::int64_t port = 0;
    std::int64_t access_list = 0;
    fields.text("subdomain", face.subdomain, kDomainBytesMax);
    fields.text("domain", face.domain, kDomainBytesMax);
    fields.integer("target_port", port, 0, kPortMax);
    fields.integer("access_list_id", access_list, 0, INT32_MAX);
    for (const auto& [key, name] :
         {std::pair<const char*, const std::string&>{"subdomain", face.subdomain},
          {"domain", face.domain}}) {
      const bool good = std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
      });
      if (!good)
        fields.fault(key, "invalid", "may have lower-case letters, digits, \"-\" and \".\"");
    }
    fields.refuse_unknown();
    face.target_port = static_cast<int>(port);
    face.access_list_id = static_cast<int>(access_list);
    faces.push_back(std::move(face));
  }
  return faces;
}

bool is_address(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_uint(text);
  if (!port.has_value() || *port == 0 || *port > std::uint64_t{kPortMax}) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

// "[host ip:]host port:container port[/tcp|/udp]"; IPv6 addresses in brackets.
std::optional<Publish> parse_publish(std::string_view text) {
  Publish publish;
  if (const auto slash = text.rfind('/'); slash != std::string_view::npos) {
    publish.protocol = text.substr(slash + 1);
    if (publish.protocol != "tcp" && publish.protocol != "udp") return std::nullopt;
    text = text.substr(0, slash);
  }
  const auto last = text.rfind(':');
  if (last == std::string_view::npos) return std::nullopt;
  const auto container = parse_port(text.substr(last + 1));
  text = text.substr(0, last);
  if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    std::string_view ip = text.substr(0, colon);
    if (ip.size() > 2 && ip.front() == '[' && ip.back() == ']') ip = ip.substr(1, ip.size() - 2);
    publish.host_ip = ip;
    if (!is_address(publish.host_ip)) return std::nullopt;
    text = text.substr(colon + 1);
  }
  const auto host = parse_port(text);
  if (!container.has_value() || !host.has_value()) return std::nullopt;
  publish.host_port = *host;
  publish.container_port = *container;
  return publish;
}

void parse_publishes(Fields& fields, ImageConfig& config) {
  const json* list = fields.find("publish");
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > kPublishesMax) {
    return fields.fault("publish", "wrong_type",
                        fmt::format("must be a list of at most {} strings", kPublishesMax));
  }
  std::set<std::string> taken;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string item = fmt::format("publish[{}]", i);
    const auto* text = (*list)[i].get_ptr<const std::string*>();
    const auto publish = text != nullptr ? parse_publish(*text) : std::nullopt;
    if (!publish.has_value()) {
      fields.fault(item, "invalid",
                   "must be like \"127.0.0.1:5432:5432\", \"8080:80\" or \"53:53/udp\"");
      continue;
    }
    const std::string place =
        fmt::format("{} {}/{}", publish->host_ip, publish->host_port, publish->protocol);
    if (!taken.insert(place).second) {
      fields.fault(item, "duplicate", "publishes the same host port twice");
    }
    config.publish.push_back(*publish);
  }
}

bool is_env_name(std::string_view name) {
  return !name.empty() && name.size() <= kEnvNameBytesMax &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c > ' ' && c < '\x7f' && c != '='; });
}

// Faults name the variable, never its value.
void parse_env(Fields& fields, ImageConfig& config) {
  const json* env = fields.find("env");
  if (env == nullptr) return;
  if (!env->is_object()) return fields.fault("env", "wrong_type", "must be an object of strings");
  if (env->size() > kEnvCountMax) {
    return fields.fault("env", "too_many",
                        fmt::format("must have at most {} variables", kEnvCountMax));
  }
  for (const auto& item : env->items()) {
    const std::string key = "env." + printable(item.key(), 64);
    const auto* value = item.value().get_ptr<const std::string*>();
    if (!is_env_name(item.key())) {
      fields.fault(key, "invalid",
                   fmt::format("the name must be 1 to {} visible ASCII characters without \"=\"",
                               kEnvNameBytesMax));
    } else if (value == nullptr) {
      fields.fault(key, "wrong_type", "must be a string");
    } else if (value->find('\0') != std::string::npos) {
      fields.fault(key, "invalid", "holds a NUL character");
    } else if (item.key().size() + 1 + value->size() > kEnvBytesMax) {
      fields.fault(key, "too_long",
                   fmt::format("must be at most {} bytes with its name", kEnvBytesMax));
    } else {
      config.env[item.key()] = *value;
    }
  }
}

void parse_image(Fields& fields, ImageConfig& config) {
  std::string image;
  const std::size_t faults_before = fields.faults().size();
  fields.text("image", image, kImageBytesMax);
  if (image.empty() && fields.faults().size() == faults_before) {
    fields.fault("image", "missing", "must name the image's repository");
  }
  fields.text("default_tag", config.default_tag, kTagBytesMax);
  fields.text("registry_name", config.registry_name, kShortTextBytesMax);
  if (!config.default_tag.empty() && !docker::is_tag(config.default_tag) &&
      !docker::is_digest(config.default_tag)) {
    fields.fault("default_tag", "invalid", "must be a tag or sha256: and 64 hex digits");
  }
  if (const Status good = check_name(config.registry_name);
      !config.registry_name.empty() && !good.ok()) {
    fields.fault("registry_name", "invalid", good.error().message());
  }
  if (image.empty()) return;
  const auto reference = docker::parse_reference(image);
  if (!reference.ok()) return fields.fault("image", "invalid", reference.error().message());
  // People write the tag into the image, too: it is the default tag then.
  const std::string version = reference->digest.empty() ? reference->tag : reference->digest;
  const auto version_at = image.size() - (version.empty() ? 0 : version.size() + 1);
  config.image = image.substr(0, version_at);
  if (!reference->digest.empty() && !reference->tag.empty()) {
    return fields.fault("image", "invalid", "must not have both a tag and a digest");
  }
  if (version.empty()) return;
  if (!config.default_tag.empty() && config.default_tag != version) {
    return fields.fault("default_tag", "conflict", "differs from the tag in config.image");
  }
  config.default_tag = version;
}

void parse_healthcheck(Fields& fields, ImageConfig& config) {
  fields.text("healthcheck", config.healthcheck, kHealthcheckBytesMax);
  const std::string& check = config.healthcheck;
  if (check.empty() || check == "image") return;
  if (check == "tcp" || check.front() == '/') {
    const bool clean =
        std::all_of(check.begin(), check.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (!clean) fields.fault("healthcheck", "invalid", "must be an encoded path without spaces");
    if (config.port == 0) fields.fault("port", "missing", "must be set for this healthcheck");
    return;
  }
  if (check.starts_with("exec:") && !trim(std::string_view(check).substr(5)).empty()) return;
  fields.fault("healthcheck", "invalid",
               "must be a path (\"/healthz\"), \"tcp\", \"exec:COMMAND\", \"image\" or empty");
}

// signal(7), as the engine knows them: a name with or without SIG, or a number.
bool is_signal(std::string_view text) {
  static constexpr std::array kNames = std::to_array<std::string_view>(
      {"ABRT", "ALRM",   "BUS",  "CHLD",   "CLD",   "CONT", "FPE",  "HUP",   "ILL",
       "INT",  "IO",     "IOT",  "KILL",   "PIPE",  "POLL", "PROF", "PWR",   "QUIT",
       "SEGV", "STKFLT", "STOP", "SYS",    "TERM",  "TRAP", "TSTP", "TTIN",  "TTOU",
       "URG",  "USR1",   "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"});
  if (const auto number = parse_uint(text)) return *number >= 1 && *number <= 64;
  if (text.starts_with("SIG")) text.remove_prefix(3);
  if (std::ranges::find(kNames, text) != kNames.end()) return true;
  const bool above = text.starts_with("RTMIN+");
  if (!above && !text.starts_with("RTMAX-")) return false;
  const auto offset = parse_uint(text.substr(6));
  return offset && *offset >= 1 && *offset <= (above ? 15U : 14U);
}

void parse_stop(Fields& fields, ImageConfig& config) {
  const json* timeout = fields.find("stop_timeout");
  if (timeout != nullptr && timeout->is_string()) {
    const auto seconds = parse_duration_s(timeout->get_ref<const std::string&>());
    if (seconds.has_value() && *seconds >= 0 && *seconds <= kStopTimeoutSecondsMax) {
      config.stop_timeout = static_cast<int>(*seconds);
    } else {
      fields.fault("stop_timeout", "out_of_range",
                   fmt::format("must be 0 to {} seconds", kStopTimeoutSecondsMax));
    }
  } else if (timeout != nullptr) {
    std::int64_t seconds = -1;
    fields.integer("stop_timeout", seconds, 0, kStopTimeoutSecondsMax);
    if (seconds >= 0) config.stop_timeout = static_cast<int>(seconds);
  }
  fields.text("stop_signal", config.stop_signal, kShortTextBytesMax);
  if (!config.stop_signal.empty() && !is_signal(config.stop_signal)) {
    fields.fault("stop_signal", "invalid", "must be a signal such as \"SIGINT\"");
  }
}

void parse_policies(Fields& fields, ImageConfig& config) {
  std::string handover(handover_name(config.handover));
  fields.text("handover", handover, kShortTextBytesMax);
  bool known = handover.empty();
  for (const Handover one : {Handover::kAuto, Handover::kOverlap, Handover::kStopFirst}) {
    if (handover != handover_name(one)) continue;
    config.handover = one;
    known = true;
  }
  if (!known) {
    fields.fault("handover", "unknown", "must be \"auto\", \"overlap\" or \"stop-first\"");
  }
  std::string pull(pull_name(config.pull));
  fields.text("pull", pull, kShortTextBytesMax);
  known = pull.empty();
  for (const Pull one : {Pull::kAlways, Pull::kMissing, Pull::kNever}) {
    if (pull != pull_name(one)) continue;
    config.pull = one;
    known = true;
  }
  if (!known) fields.fault("pull", "unknown", "must be \"always\", \"missing\" or \"never\"");
}

ImageConfig parse_config(const json& object, std::vector<Reason>& faults) {
  ImageConfig config;
  Fields fields(object, "config", faults);
  std::int64_t port = 0;
  std::int64_t instances = 1;
  fields.integer("port", port, 0, kPortMax);
  config.port = static_cast<std::uint16_t>(port);
  if (object.is_object()) parse_image(fields, config);
  parse_healthcheck(fields, config);
  parse_env(fields, config);
  if (const json* volumes = fields.find("volumes")) {
    config.volumes = volume::parse_volumes(*volumes, fields.path("volumes"), faults);
  }
  fields.number("cpu_limit", config.cpu_limit, 0, kCpuCoresMax);
  fields.integer("memory_limit", config.memory_limit, 0, kMemoryMibMax);
  if (config.memory_limit > 0 && config.memory_limit < kMemoryMibMin) {
    fields.fault("memory_limit", "out_of_range",
                 fmt::format("must be 0 or at least {} MiB", kMemoryMibMin));
  }
  fields.integer("max_instances", instances, 0, kMaxInstancesMax);
  config.max_instances = static_cast<int>(std::max<std::int64_t>(instances, 1));
  fields.texts("command", config.command);
  fields.texts("entrypoint", config.entrypoint);
  fields.text("user", config.user, kShortTextBytesMax);
  parse_publishes(fields, config);
  fields.integer("shm_size", config.shm_size, 0, kMemoryMibMax);
  parse_stop(fields, config);
  parse_policies(fields, config);
  if (auto reason = check_handover(config, config.volumes)) faults.push_back(std::move(*reason));
  fields.refuse_unknown();
  return config;
}

Error faults_error(std::string_view what, std::vector<Reason> faults) {
  std::string message =
      fmt::format("{} has {} fault{}: {} {}", what, faults.size(), faults.size() == 1 ? "" : "s",
                  faults.front().target, faults.front().detail);
  if (faults.size() > kFaultsMax) faults.resize(kFaultsMax);
  ErrorDetail detail;
  detail.reasons = std::move(faults);
  return {Code::kInvalid, std::move(message), std::move(detail)};
}

// Positions only: a parser's own words may repeat a piece of the text, which may be a secret.
Result<json> parse_json(std::string_view text) {
  const std::string fault = codec::scan_json(text).fault();
  if (!fault.empty()) return Error(Code::kInvalid, "the definition " + fault);
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(text.size(), error.byte));
    const auto line = 1 + std::count(text.begin(), end, '\n');
    return Error(Code::kInvalid,
                 fmt::format("not valid JSON at line {}, byte {}", line, error.byte));
  }
}

}  // namespace

Result<Definition> parse_definition(std::string_view text, TextFormat format) {
  if (text.size() > kDefinitionBytesMax) {
    return Error(Code::kInvalid,
                 fmt::format("the definition is larger than {} bytes", kDefinitionBytesMax));
  }
  std::vector<Reason> faults;
  json root;
  if (format == TextFormat::kJson) {
    TRY_ASSIGN(root, parse_json(text));
  } else {
    TRY_ASSIGN(root, toml_to_json(text, faults));
  }
  Definition definition;
  Fields fields(root, "", faults);
  fields.text("name", definition.name, kShortTextBytesMax);
  if (const auto good = check_name(definition.name); root.is_object() && !good.ok()) {
    fields.fault("name", "invalid", good.error().message());
  }
  fields.text("kind", definition.kind, kShortTextBytesMax);
  if (definition.kind != "image") {
    fields.fault("kind", "unsupported", "must be \"image\", the only kind so far");
  }
  if (const json* faces = fields.find("public_faces")) {
    definition.public_faces = parse_faces(*faces, "public_faces", faults);
  }
  if (const json* config = fields.find("config")) {
    definition.config = parse_config(*config, faults);
  } else if (root.is_object()) {
    fields.fault("config", "missing", "must be there");
  }
  fields.refuse_unknown();
  if (!faults.empty()) return faults_error("the definition", std::move(faults));
  return definition;
}

Result<ImageConfig> config_from_json(const std::string& stored) {
  std::vector<Reason> faults;
  const json value = json::parse(stored, nullptr, false);
  ImageConfig config = parse_config(value, faults);
  if (!faults.empty())
    return faults_error("a stored config", std::move(faults)).with_code(Code::kCorrupt);
  return config;
}

Result<std::vector<Face>> faces_from_json(const std::string& stored) {
  std::vector<Reason> faults;
  const json value = json::parse(stored, nullptr, false);
  std::vector<Face> faces = parse_faces(value, "public_faces", faults);
  if (!faults.empty())
    return faults_error("stored faces", std::move(faults)).with_code(Code::kCorrupt);
  return faces;
}

}  // namespace cairn::workload
