// The table of routes: what the router serves and what the OpenAPI document describes.
#pragma once

#include <span>

#include "api/router.h"

namespace cairn::api {

std::span<const Route> all_routes();

}  // namespace cairn::api
