// Errors and results as HTTP answers. Errors are problem+json (RFC 9457).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/http.h"
#include "base/result.h"

namespace cairn::api {

// An error as people and scripts read it: title, status, detail, code, and what the ErrorDetail
// holds (reasons, holder, probe, log_tail, data, operation). A 500 tells its operation and request
// id and nothing else. request_id may be empty: an operation's error is of no request.
nlohmann::json problem_json(const Error& error, int status, const std::string& request_id);

// The answer to a request that failed. What a 500 does not tell is written to the log.
Response problem(const Error& error, const std::string& request_id);
// With a status that no Code has: 405, 413, 431.
Response problem(int status, const Error& error, const std::string& request_id);

// 200 unless said otherwise.
Response json_response(const nlohmann::json& body, int status = 200);
Response no_content();

// JSON text in which broken UTF-8 is replaced: names from disks and logs may hold anything.
std::string dump(const nlohmann::json& value);

}  // namespace cairn::api
