// Places: where a volume's data is, written down at first use and never computed again, so that a
// changed setting cannot point a workload at other data. Rows outlive their workload.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/states.h"

namespace cairn::catalog {

class Store;

enum class PlaceKind { kBind, kVolume, kTmpfs };
std::string_view name_of(PlaceKind kind);  // "bind", "volume", "tmpfs"
template <>
Result<PlaceKind> parse_state(std::string_view name);

struct Place {
  std::string workload_id;
  std::string key;  // place_key(): scope, NUL, source or name
  PlaceKind kind = PlaceKind::kBind;
  std::string path_or_name;     // absolute host path, or the Docker volume's name; empty for tmpfs
  std::int64_t created_ms = 0;  // 0 becomes now
  bool held = false;            // it has been in use: an empty one is not filled from an image
  bool operator==(const Place&) const = default;
};

std::string place_key(std::string_view scope, std::string_view source_or_name);

// Thread-safe. What a write returned as done is durable; a failed write changed nothing.
class PlaceTable {
 public:
  explicit PlaceTable(Store& store) : store_(store) {}

  Result<std::optional<Place>> find(const std::string& workload_id, const std::string& key);
  // Inserts the row unless its workload and key have one; returns the one that is there.
  Result<Place> insert_once(const Place& place);
  // The place has been in use from now on. One that has no row is fine.
  Status mark_held(const std::string& workload_id, const std::string& key);
  // Of one workload in order of key, or of all (empty id).
  Result<std::vector<Place>> list(const std::string& workload_id);

 private:
  Store& store_;
};

}  // namespace cairn::catalog
