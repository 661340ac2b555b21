#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace cairn {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kNotFound:
      return "not_found";
    case Code::kExists:
      return "exists";
    case Code::kDenied:
      return "denied";
    case Code::kConflict:
      return "conflict";
    case Code::kBusy:
      return "busy";
    case Code::kRefused:
      return "refused";
    case Code::kUnhealthy:
      return "unhealthy";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kNoSpace:
      return "no_space";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kCancelled:
      return "cancelled";
    case Code::kInternal:
      return "internal";
  }
  return "internal";
}

const ErrorDetail& Error::detail() const {
  static const ErrorDetail kNone;
  return detail_ ? *detail_ : kNone;
}

Error Error::with_context(std::string_view context) const {
  Error out = *this;
  out.message_ = std::string(context) + ": " + message_;
  return out;
}

Error Error::with_note(std::string_view note) const {
  Error out = *this;
  out.message_ += "; " + std::string(note);
  return out;
}

Error Error::with_code(Code code) const {
  Error out = *this;
  out.code_ = code;
  return out;
}

Error Error::with_detail(ErrorDetail detail) const {
  Error out = *this;
  out.detail_ = std::make_shared<const ErrorDetail>(std::move(detail));
  return out;
}

namespace {

Code code_of_errno(int os_errno) {
  switch (os_errno) {
    case ENOENT:
      return Code::kNotFound;
    case EEXIST:
      return Code::kExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kDenied;
    case ENOSPC:
    case EDQUOT:
      return Code::kNoSpace;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case ELOOP:
    case EXDEV:
      return Code::kInvalid;
    case EBUSY:
    case ENOTEMPTY:
      return Code::kConflict;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case EAGAIN:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Error os_error(std::string_view what, int os_errno) {
  Error error(code_of_errno(os_errno), std::string(what) + ": " + std::strerror(os_errno));
  error.os_errno_ = os_errno;
  return error;
}

}  // namespace cairn
