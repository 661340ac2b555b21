#include "catalog/places.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/store.h"
#include "sqlite/transaction.h"

namespace cairn::catalog {

namespace {

constexpr std::string_view kSelectPlace =
    "SELECT workload_id, key, kind, path_or_name, created_ms, content FROM places";

constexpr std::string_view kHeld = "held";

Result<Place> decode_place(const sqlite::Statement& row) {
  Place place;
  place.workload_id = row.text(0);
  // A blob, since SQLite's text functions stop at the NUL within a key.
  place.key = as_text(row.blob(1));
  TRY_ASSIGN(place.kind, parse_state<PlaceKind>(row.text(2)));
  place.path_or_name = row.text(3);
  place.created_ms = row.integer(4);
  place.held = row.text(5) == kHeld;
  return place;
}

}  // namespace

std::string place_key(std::string_view scope, std::string_view source_or_name) {
  std::string key(scope);
  key += '\0';
  key += source_or_name;
  return key;
}

Result<std::optional<Place>> PlaceTable::find(const std::string& workload_id,
                                              const std::string& key) {
  auto database = store_.lock();
  return database->first<Place>(fmt::format("{} WHERE workload_id = ? AND key = ?", kSelectPlace),
                                {workload_id, as_bytes(key)}, decode_place);
}

Result<Place> PlaceTable::insert_once(const Place& place) {
  auto database = store_.lock();
  TRY_ASSIGN(sqlite::Transaction transaction, sqlite::Transaction::begin(*database));
  TRY(
      database->run("INSERT INTO places (workload_id, key, kind, path_or_name, created_ms) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (workload_id, key) DO NOTHING",
                    {place.workload_id, as_bytes(place.key), name_of(place.kind),
                     place.path_or_name, place.created_ms != 0 ? place.created_ms : wall_ms()}));
  TRY_ASSIGN(auto there, find(place.workload_id, place.key));
  CHECK(there.has_value());
  TRY(transaction.commit());
  return std::move(*there);
}

Status PlaceTable::mark_held(const std::string& workload_id, const std::string& key) {
  auto database = store_.lock();
  TRY(database->run("UPDATE places SET content = ? WHERE workload_id = ? AND key = ?",
                    {kHeld, workload_id, as_bytes(key)}));
  return {};
}

Result<std::vector<Place>> PlaceTable::list(const std::string& workload_id) {
  auto database = store_.lock();
  return database->all<Place>(
      fmt::format("{} WHERE workload_id = ?1 OR ?1 = '' ORDER BY workload_id, key", kSelectPlace),
      {workload_id}, decode_place);
}

}  // namespace cairn::catalog
