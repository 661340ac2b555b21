// Body: the JSON object of a request, read field by field. Every fault is collected, so that one
// answer names them all. One thread at a time.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <vector>

#include "api/http.h"
#include "base/result.h"

namespace cairn::api {

class Body {
 public:
  // An empty body is an empty object. kInvalid where it is not JSON or not an object.
  static Result<Body> parse(const std::string& text);
  Body(Body&&) noexcept;
  Body& operator=(Body&&) noexcept;
  ~Body();

  // The field's value, or the fallback where it is missing or wrong.
  std::string text(const std::string& field, std::string fallback = {});
  bool flag(const std::string& field);
  std::vector<std::string> list(const std::string& field, std::size_t max);
  std::map<std::string, std::string> map(const std::string& field, std::size_t max);
  // A list of records that have these members, all texts, and no other.
  std::vector<std::map<std::string, std::string>> records(const std::string& field,
                                                          const std::vector<std::string>& members,
                                                          std::size_t max);
  // A text, or a number as text.
  std::string scalar(const std::string& field);
  [[nodiscard]] bool has(const std::string& field) const;
  // A field that must be there.
  void require(const std::string& field);
  void fault(const std::string& field, const std::string& sentence);

  // kInvalid with a reason for each fault and for each field that nobody asked for.
  Status finish();

 private:
  explicit Body(std::unique_ptr<nlohmann::json> object);
  const nlohmann::json* find(const std::string& field);

  std::unique_ptr<nlohmann::json> object_;
  std::set<std::string> known_;
  std::vector<Reason> faults_;
};

// True where the request says "Prefer: respond-async" (RFC 7240).
bool prefers_async(const Request& request);
// True where the request accepts text/event-stream by name.
bool accepts_events(const Request& request);

}  // namespace cairn::api
