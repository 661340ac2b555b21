// Registries that ask for a login. The password (or token) is sealed, bound to its row and column;
// it leaves this table only for the engine's calls.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace cairn::catalog {

class Store;

inline constexpr std::size_t kRegistriesMax = 256;

struct Registry {
  std::string name;             // unique; what a workload's registry_name says
  std::string url;              // host or host:port
  std::string user;             // who logs in
  std::string password;         // secret: never in logs, events, the API
  std::int64_t created_ms = 0;  // set by the table, as the next one
  std::int64_t updated_ms = 0;
  bool operator==(const Registry&) const = default;
};

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class RegistryTable {
 public:
  explicit RegistryTable(Store& store) : store_(store) {}

  // Inserts the row, or replaces url, user and password of the one with that name. The caller has
  // checked the values. kRefused past kRegistriesMax.
  Status set(const Registry& registry);
  Result<std::optional<Registry>> find(const std::string& name);
  // The same; kNotFound with the name in the message.
  Result<Registry> get(const std::string& name);
  // In order of name.
  Result<std::vector<Registry>> list();
  // kNotFound. The caller has seen to it that nobody needs the row.
  Status remove(const std::string& name);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
