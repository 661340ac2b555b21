#include "base/error_map.h"

#include <array>

namespace cairn {

namespace {

struct Row {
  Code code;
  int status;
  Exit exit;
  std::string_view title;
};

// Indexed by Code; the test holds the order.
constexpr std::array kRows = {
    Row{Code::kInvalid, 400, Exit::kFailed, "the request is wrong"},
    Row{Code::kNotFound, 404, Exit::kNotFound, "not found"},
    Row{Code::kExists, 409, Exit::kFailed, "it exists already"},
    Row{Code::kDenied, 403, Exit::kFailed, "not allowed"},
    Row{Code::kConflict, 409, Exit::kFailed, "the present state does not allow it"},
    Row{Code::kBusy, 409, Exit::kBusy, "somebody holds the lock"},
    Row{Code::kRefused, 400, Exit::kFailed, "the plan was refused"},
    Row{Code::kUnhealthy, 422, Exit::kFailed, "the workload did not get healthy"},
    Row{Code::kCorrupt, 500, Exit::kFailed, "stored data is damaged"},
    Row{Code::kNoSpace, 507, Exit::kFailed, "not enough space"},
    Row{Code::kUnavailable, 503, Exit::kFailed, "a part that is needed does not answer"},
    Row{Code::kCancelled, 409, Exit::kFailed, "cancelled"},
    Row{Code::kInternal, 500, Exit::kFailed, "internal error"},
};

const Row& row_of(Code code) {
  return kRows.at(static_cast<std::size_t>(code));
}

}  // namespace

int http_status(Code code) {
  return row_of(code).status;
}

Exit exit_of(Code code) {
  return row_of(code).exit;
}

std::string_view code_title(Code code) {
  return row_of(code).title;
}

std::optional<Code> parse_code(std::string_view name) {
  for (const Row& row : kRows) {
    if (code_name(row.code) == name) return row.code;
  }
  return std::nullopt;
}

Code code_of_status(int status) {
  switch (status) {
    case 400:
    case 405:
    case 411:
    case 413:
    case 415:
    case 431:
      return Code::kInvalid;
    case 401:
    case 403:
      return Code::kDenied;
    case 404:
      return Code::kNotFound;
    case 409:
      return Code::kConflict;
    case 422:
      return Code::kUnhealthy;
    case 503:
    case 504:
      return Code::kUnavailable;
    case 507:
      return Code::kNoSpace;
    default:
      return Code::kInternal;
  }
}

}  // namespace cairn
