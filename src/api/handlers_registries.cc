#include <nlohmann/json.hpp>

#include "api/call.h"
#include "api/decode.h"
#include "api/encode.h"
#include "api/handlers.h"
#include "api/problem.h"
#include "workload/service.h"

namespace cairn::api {

namespace {

Result<Response> try_set_registry(Services& services, const Request& request) {
  TRY_ASSIGN(Body body, Body::parse(request.body));
  for (const char* field : {"url", "user", "password"}) body.require(field);
  catalog::Registry registry;
  registry.name = request.param("name");
  registry.url = body.text("url");
  registry.user = body.text("user");
  registry.password = body.text("password");
  TRY(body.finish());
  TRY_ASSIGN(const workload::RegistryView view, services.workloads.set_registry(registry));
  nlohmann::json answer = encode(view);
  answer["warnings"] = nlohmann::json::array();
  return json_response(answer);
}

}  // namespace

Response list_registries(Services& services, Request& request) {
  auto views = services.workloads.list_registries();
  if (!views.ok()) return problem(views.error(), request.id);
  return json_response(encode_list("registries", *views));
}

Response set_registry(Services& services, Request& request) {
  return respond(request, try_set_registry(services, request));
}

Response remove_registry(Services& services, Request& request) {
  const Status removed = services.workloads.remove_registry(request.param("name"));
  if (!removed.ok()) return problem(removed.error(), request.id);
  return no_content();
}

}  // namespace cairn::api
