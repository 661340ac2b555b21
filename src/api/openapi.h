// The OpenAPI 3.1 document: paths come from the table of routes, schemas from api/schemas.cc; a
// test holds that each names what the other has. Pure.
#pragma once

#include <string>
#include <string_view>

namespace cairn::api {

std::string openapi_document(std::string_view version);

// components/schemas as JSON text.
std::string_view schemas_json();

}  // namespace cairn::api
