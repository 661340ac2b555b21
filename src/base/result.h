// Errors are values: Result<T> holds a value or an Error, and dropping one is a compile error.
// Values are copied and moved freely; nothing here is shared or locked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"

namespace cairn {

// What the caller can do about a failure, not which library failed.
enum class Code {
  kInvalid,      // the request or the input is wrong: mend it
  kNotFound,     // what was named does not exist
  kExists,       // what should be made is there already
  kDenied,       // the caller may not do this
  kConflict,     // the state does not allow it now (a name is taken, a stale version)
  kBusy,         // somebody holds the lock; ErrorDetail::holder says who
  kRefused,      // a plan was refused; ErrorDetail::reasons says why, all of it
  kUnhealthy,    // the workload did not get healthy; ErrorDetail has probe, log_tail and data
  kCorrupt,      // bytes at rest are not what they should be
  kNoSpace,      // a disk or a limit on space is full
  kUnavailable,  // a peer (engine, disk, registry) does not answer; try again later
  kCancelled,    // somebody asked to stop
  kInternal,     // a bug or an error that nobody could expect
};

// The stable lower-case name of a code, as used in the API ("not_found").
std::string_view code_name(Code code);

// One reason of a refused plan, about one volume (or the whole workload: empty target).
struct Reason {
  std::string target;  // the container path of the volume
  std::string code;    // stable word, for scripts
  std::string detail;  // a sentence, for people
  bool operator==(const Reason&) const = default;
};

struct ErrorDetail {
  std::vector<Reason> reasons;
  std::string holder;                 // operation id, or "recovering"
  std::string probe;                  // the last health probe's result
  std::vector<std::string> log_tail;  // the container's last log lines
  std::string data;                   // "old" or "new": which data is live after the failure
  std::string operation;              // the operation that failed
};

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  Error(Code code, std::string message, ErrorDetail detail)
      : code_(code),
        message_(std::move(message)),
        detail_(std::make_shared<const ErrorDetail>(std::move(detail))) {}

  [[nodiscard]] Code code() const { return code_; }
  // Outermost attempt first: "restore web: open chunk 3f21: Permission denied".
  [[nodiscard]] const std::string& message() const { return message_; }
  // Never null; an empty record where nothing was attached.
  [[nodiscard]] const ErrorDetail& detail() const;
  // The errno behind it, 0 where there is none.
  [[nodiscard]] int os_errno() const { return os_errno_; }

  // Puts "context: " before the message.
  [[nodiscard]] Error with_context(std::string_view context) const;
  // Puts "; note" behind it: what else is to be known.
  [[nodiscard]] Error with_note(std::string_view note) const;
  [[nodiscard]] Error with_code(Code code) const;
  [[nodiscard]] Error with_detail(ErrorDetail detail) const;

 private:
  friend Error os_error(std::string_view what, int os_errno);
  Code code_;
  int os_errno_ = 0;
  std::string message_;
  std::shared_ptr<const ErrorDetail> detail_;
};

// The one place where an errno becomes an Error: "what: Permission denied".
Error os_error(std::string_view what, int os_errno);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {
  }  // NOLINT(google-explicit-constructor): returned by value
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {
  }  // NOLINT(google-explicit-constructor): returned by value

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  [[nodiscard]] const Error& error() const {
    CHECK(!ok());
    return std::get<1>(state_);
  }
  [[nodiscard]] T& value() & {
    CHECK(ok());
    return std::get<0>(state_);
  }
  [[nodiscard]] const T& value() const& {
    CHECK(ok());
    return std::get<0>(state_);
  }
  [[nodiscard]] T&& value() && {
    CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  [[nodiscard]] T value_or(T other) const& { return ok() ? value() : std::move(other); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error)
      : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor): returned by value

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  [[nodiscard]] const Error& error() const {
    CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

// Statements, not expressions: a GNU statement expression inside an initialiser list leaks what was
// already constructed (g++ 12, clang 14).
#define CAIRN_CONCAT_INNER(a, b) a##b
#define CAIRN_CONCAT(a, b) CAIRN_CONCAT_INNER(a, b)

// TRY(expression): returns the error of a Result from the enclosing function.
#define TRY(expression)                                         \
  do {                                                          \
    if (auto cairn_status = (expression); !cairn_status.ok()) { \
      return cairn_status.error();                              \
    }                                                           \
  } while (false)

// TRY_CONTEXT(expression, context): the same, with "context: " before the message.
#define TRY_CONTEXT(expression, context)                        \
  do {                                                          \
    if (auto cairn_status = (expression); !cairn_status.ok()) { \
      return cairn_status.error().with_context(context);        \
    }                                                           \
  } while (false)

// TRY_ASSIGN(Type name, expression): binds the value or returns the error.
#define TRY_ASSIGN(declaration, expression) \
  CAIRN_TRY_ASSIGN_INNER(CAIRN_CONCAT(cairn_result_, __LINE__), declaration, expression)
#define CAIRN_TRY_ASSIGN_INNER(name, declaration, expression) \
  auto name = (expression);                                   \
  if (!name.ok()) {                                           \
    return name.error();                                      \
  }                                                           \
  declaration = std::move(name).value()

}  // namespace cairn
