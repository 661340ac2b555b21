// Reads typed fields out of a JSON object and collects every fault by its field path.
// One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::workload {

class Fields {
 public:
  // object: must outlive this. path: "" at the top, else "config". Says a fault where object is no
  // object.
  Fields(const nlohmann::json& object, std::string path, std::vector<Reason>& faults);

  // The value of a key, or null where it is absent or null. The key is known from then on.
  const nlohmann::json* find(std::string_view key);
  // Each leaves out as it is where the key is absent or faulty.
  void text(std::string_view key, std::string& out, std::size_t max_bytes);
  void integer(std::string_view key, std::int64_t& out, std::int64_t min, std::int64_t max);
  void number(std::string_view key, double& out, double min, double max);
  // A list of strings.
  void texts(std::string_view key, std::vector<std::string>& out);

  void fault(std::string_view key, std::string code, std::string detail);
  // "config.port".
  [[nodiscard]] std::string path(std::string_view key) const;
  [[nodiscard]] std::vector<Reason>& faults() const { return faults_; }
  // Call last: a fault for each key that nobody asked for.
  void refuse_unknown();

 private:
  const nlohmann::json& object_;
  std::string path_;
  std::vector<Reason>& faults_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace cairn::workload
