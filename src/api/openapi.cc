#include "api/openapi.h"

#include <nlohmann/json.hpp>

#include "api/problem.h"
#include "api/router.h"
#include "api/routes.h"
#include "base/strings.h"

namespace cairn::api {

using nlohmann::json;

namespace {

json reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

std::string media_type(std::string_view schema) {
  if (schema == "EventStream") return "text/event-stream";
  if (schema == "Metrics") return "text/plain";
  if (schema == kArchiveSchema) return "application/gzip";
  return "application/json";
}

json parameters_of(const Route& route) {
  json list = json::array();
  for (const std::string& part : split(route.pattern, '/')) {
    if (part.size() < 3 || part.front() != '{') continue;
    list.push_back({{"name", part.substr(1, part.size() - 2)},
                    {"in", "path"},
                    {"required", true},
                    {"schema", {{"type", "string"}}}});
  }
  for (const std::string& name : split(route.query, ' ')) {
    if (name.empty()) continue;
    list.push_back({{"name", name}, {"in", "query"}, {"schema", {{"type", "string"}}}});
  }
  if (!route.confirm.header.empty()) {
    const bool dry_run = route.query.find("dryRun") != std::string_view::npos;
    list.push_back({{"name", route.confirm.header},
                    {"in", "header"},
                    {"required", !dry_run},
                    {"description", "must equal {" + std::string(route.confirm.param) + "}"},
                    {"schema", {{"type", "string"}}}});
  }
  return list;
}

json responses_of(const Route& route) {
  json success = {{"description", "done"}};
  if (!route.response_schema.empty()) {
    success["content"][media_type(route.response_schema)]["schema"] =
        reference(route.response_schema);
  }
  json failure = {{"description", "an error"}};
  failure["content"]["application/problem+json"]["schema"] = reference("Problem");
  return {{std::to_string(route.success), std::move(success)}, {"default", std::move(failure)}};
}

json operation_of(const Route& route) {
  json operation = {{"operationId", route.action},
                    {"summary", route.summary},
                    {"x-cairn-right", route.right == Right::kAdmin ? "admin" : "anyone"},
                    {"responses", responses_of(route)}};
  if (json parameters = parameters_of(route); !parameters.empty()) {
    operation["parameters"] = std::move(parameters);
  }
  if (!route.request_schema.empty()) {
    json content = {{"application/json", {{"schema", reference(route.request_schema)}}}};
    if (route.request_schema == kArchiveSchema) {
      content = {{"application/octet-stream", {{"schema", reference(kArchiveSchema)}}}};
    } else if (route.request_schema == "Definition") {
      content["application/toml"]["schema"] = {{"type", "string"}};
    }
    operation["requestBody"] = {{"content", std::move(content)}};
  }
  return operation;
}

std::string method_key(Method method) {
  std::string key(method_name(method));
  for (char& c : key) c = static_cast<char>(c - 'A' + 'a');
  return key;
}

}  // namespace

std::string openapi_document(std::string_view version) {
  json paths = json::object();
  for (const Route& route : all_routes()) {
    paths[std::string(route.pattern)][method_key(route.method)] = operation_of(route);
  }
  const json document = {
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "Cairn"},
        {"version", version},
        {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}},
        {"description",
         "HTTP over cairnd's Unix socket. Long calls answer when they are over, or at once with "
         "202 "
         "and the operation's place where the request says Prefer: respond-async."}}},
      {"paths", std::move(paths)},
      {"components", {{"schemas", json::parse(schemas_json(), nullptr, false)}}}};
  return dump(document);
}

}  // namespace cairn::api
