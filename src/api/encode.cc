#include "api/encode.h"

#include <nlohmann/json.hpp>

#include "api/problem.h"
#include "base/clock.h"
#include "base/error_map.h"
#include "catalog/error_json.h"

namespace cairn::api {

using nlohmann::json;

namespace {

// Text that the catalog keeps as JSON; null where it does not parse, which fsck reports.
json stored(const std::string& text) {
  json parsed = json::parse(text, nullptr, false);
  return parsed.is_discarded() ? json() : parsed;
}

json text_or_null(const std::string& text) {
  return text.empty() ? json() : json(text);
}

}  // namespace

// Parts of what the header declares. Not in the unnamed namespace: a name there would hide the
// overloads of the header from encode_items.
static json encode(const volume::DeclaredVolume& volume) {
  return {{"target", volume.target},
          {"scope", volume::scope_name(volume.scope)},
          {"source", volume.source},
          {"name", volume.name}};
}

static json encode(const workload::InstanceView& view) {
  return {{"container_name", view.container_name},
          {"container_id", view.container_id},
          {"release", view.release_id},
          {"state", view.state},
          {"health", view.health},
          {"address", view.address},
          {"created_at", encode_time(view.created_ms)}};
}

static json encode(const catalog::SnapshotVolume& volume) {
  return {{"index", volume.index},   {"target", volume.target}, {"scope", volume.scope},
          {"source", volume.source}, {"bytes", volume.bytes},   {"files", volume.files}};
}

static json encode(const catalog::SkippedVolume& volume) {
  return {{"target", volume.target},
          {"scope", volume.scope},
          {"code", volume.code},
          {"reason", volume.reason}};
}

static json encode(const volume::PlannedVolume& volume) {
  return {{"index", volume.index},    {"target", volume.target},
          {"scope", volume.scope},    {"source", volume.source},
          {"path", volume.path},      {"root_missing", volume.root_missing},
          {"bytes", volume.bytes},    {"root_is_mount", volume.root_is_mount},
          {"entries", volume.entries}};
}

template <typename T>
static json encode_items(const std::vector<T>& items) {
  json list = json::array();
  for (const T& item : items) list.push_back(encode(item));
  return list;
}

json encode_time(std::int64_t wall_ms) {
  return wall_ms == 0 ? json() : json(to_iso_ms(wall_ms));
}

json encode(const catalog::Release& release) {
  return {{"id", release.id},
          {"image", release.image},
          {"image_id", release.image_id},
          // The image id stands in where no registry knows the image.
          {"digest", workload::release_identity(release)},
          {"tag", release.tag},
          {"state", catalog::name_of(release.state)},
          {"env_version", release.env_version},
          {"config_version", release.config_version},
          {"data_generation", release.data_generation},
          {"created_at", encode_time(release.created_ms)}};
}

json encode(const catalog::SnapshotRow& row) {
  std::uint64_t walked = 0;
  std::uint64_t changed_files = 0;
  std::uint64_t changed_bytes = 0;
  for (const catalog::SnapshotVolume& volume : row.volumes) {
    walked += volume.walked;
    changed_files += volume.changed_files;
    changed_bytes += volume.changed_bytes;
  }
  return {{"id", row.id},
          {"workload_id", row.workload_id},
          {"workload", row.workload_name},
          {"operation", row.operation_id},
          {"state", catalog::name_of(row.state)},
          {"reason", catalog::name_of(row.reason)},
          {"consistency", row.consistency},
          {"labels", row.labels},
          {"hold_ms", row.hold_ms},
          {"bytes", row.bytes},
          {"files", row.files},
          {"files_walked", walked},
          {"files_changed", changed_files},
          {"bytes_changed", changed_bytes},
          {"volumes", encode_items(row.volumes)},
          {"skipped", encode_items(row.skipped)},
          {"repository_snapshot", text_or_null(row.repository_snapshot)},
          {"adopted_from", text_or_null(row.adopted_from)},
          {"data_generation", row.data_generation},
          {"release", text_or_null(row.release_id)},
          {"created_at", encode_time(row.created_ms)},
          {"stored_at", encode_time(row.stored_ms)},
          {"verified_at", encode_time(row.verified_ms)},
          {"warnings", row.warnings}};
}

json encode(const volume::CaptureForecast& forecast) {
  json volumes = json::array();
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  for (const volume::ForecastVolume& volume : forecast.volumes) {
    volumes.push_back({{"index", volume.index},
                       {"target", volume.target},
                       {"scope", volume.scope},
                       {"source", volume.source},
                       {"entries", volume.entries},
                       {"files_to_read", volume.files_to_read},
                       {"bytes_to_read", volume.bytes_to_read}});
    entries += volume.entries;
    bytes += volume.bytes_to_read;
  }
  return {{"status", "planned"},
          {"consistency", volume::consistency_name(forecast.consistency)},
          {"volumes", std::move(volumes)},
          {"skipped", encode_items(forecast.skipped)},
          {"entries", entries},
          {"bytes_to_read", bytes},
          {"expected_hold_ms", forecast.expected_hold_ms},
          {"max_hold_ms", forecast.max_hold_ms},
          {"warnings", forecast.warnings}};
}

json encode(const volume::AdoptForecast& forecast) {
  json volumes = json::array();
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  for (const volume::AdoptedVolume& volume : forecast.volumes) {
    volumes.push_back({{"index", volume.index},
                       {"target", volume.target},
                       {"scope", volume.scope},
                       {"source", volume.source},
                       {"path", volume.path},
                       {"bytes", volume.bytes},
                       {"files", volume.files}});
    bytes += volume.bytes;
    files += volume.files;
  }
  return {{"status", "planned"},
          {"adopted_from", forecast.adopted_from},
          {"created_at", encode_time(forecast.created_ms)},
          {"volumes", std::move(volumes)},
          {"bytes", bytes},
          {"files", files},
          {"warnings", forecast.warnings}};
}

json encode(const catalog::UndoRow& row) {
  return {{"id", row.id},
          {"workload_id", row.workload_id},
          {"workload", row.workload_name},
          {"operation", row.operation_id},
          {"snapshot", text_or_null(row.snapshot_id)},
          {"pre_restore_snapshot", text_or_null(row.pre_restore_snapshot)},
          {"data_generation", row.made_generation},
          {"state", catalog::name_of(row.state)},
          {"expires_at", encode_time(row.expires_ms)},
          {"created_at", encode_time(row.created_ms)}};
}

json encode(const catalog::OperationRow& row) {
  json out = {{"id", row.id},
              {"kind", row.kind},
              {"workload_id", row.workload_id},
              {"actor", row.actor},
              {"state", catalog::name_of(row.state)},
              {"phase", row.phase},
              {"progress",
               {{"bytes_done", row.progress.bytes_done},
                {"bytes_total", row.progress.bytes_total},
                {"items_done", row.progress.items_done},
                {"items_total", row.progress.items_total}}},
              {"warnings", row.warnings},
              {"started_at", encode_time(row.started_ms)},
              {"finished_at", encode_time(row.finished_ms)}};
  if (!row.result_json.empty()) out["result"] = stored(row.result_json);
  if (!row.error_json.empty()) {
    const Error error = catalog::error_from_json(row.error_json);
    ErrorDetail detail = error.detail();
    detail.operation = row.id;
    out["error"] = problem_json(error.with_detail(detail), http_status(error.code()), "");
  }
  return out;
}

json encode(const catalog::Event& event) {
  return {{"id", event.id},
          {"time", encode_time(event.time_ms)},
          {"kind", event.kind},
          {"workload_id", event.workload_id},
          {"operation", event.operation_id},
          {"message", event.message},
          {"data", stored(event.data_json)}};
}

json encode(const catalog::Setting& setting) {
  return {{"key", setting.key},
          {"value", setting.value},
          {"source", setting.source},
          {"default", setting.fallback},
          {"help", setting.help}};
}

json encode(const volume::RestorePlan& plan) {
  return {{"status", "planned"},          {"workload_id", plan.workload_id},
          {"snapshot", plan.snapshot_id}, {"volumes", encode_items(plan.volumes)},
          {"untouched", plan.untouched},  {"readers", plan.readers},
          {"stops", plan.stops},          {"will_start", plan.will_start},
          {"warnings", plan.warnings}};
}

json encode(const volume::RestoreResult& result) {
  return {{"status", result.status},       {"workload_id", result.workload_id},
          {"started", result.started},     {"hold_ms", result.hold_ms},
          {"cairn_ms", result.cairn_ms},   {"undo", text_or_null(result.undo)},
          {"untouched", result.untouched}, {"storing", text_or_null(result.storing)},
          {"warnings", result.warnings}};
}

json encode(const catalog::Finding& finding) {
  return {{"code", finding.code}, {"subject", finding.subject}, {"detail", finding.detail}};
}

json encode(const workload::WorkloadView& view) {
  return {{"id", view.row.id},
          {"name", view.row.name},
          {"kind", view.row.kind},
          {"state", view.state},
          {"desired", catalog::name_of(view.row.desired)},
          {"holder", text_or_null(view.holder)},
          {"public_faces", stored(view.row.faces_json)},
          {"config", stored(view.config_json)},
          {"volumes", encode_items(view.volumes)},
          {"release", view.release.has_value() ? encode(*view.release) : json()},
          {"instances", encode_items(view.instances)},
          {"data_generation", view.row.data_generation},
          {"env_version", view.row.env_version},
          {"config_version", view.row.config_version},
          {"created_at", encode_time(view.row.created_ms)},
          {"updated_at", encode_time(view.row.updated_ms)}};
}

json encode(const workload::VolumeView& view) {
  json out = encode(view.volume);
  out["origin"] = view.persisted ? "set" : "config";
  out["overrides"] = view.overrides;
  out["place"] = text_or_null(view.place);
  out["problem"] = text_or_null(view.reason);
  return out;
}

json encode(const workload::DeployResult& result) {
  return {{"status", result.unchanged ? "unchanged" : "deployed"},
          {"release", encode(result.release)},
          {"total_ms", result.total_ms},
          {"hold_ms", result.hold_ms},
          {"warnings", result.warnings}};
}

json encode(const workload::RegistryView& view) {
  return {{"name", view.row.name},
          {"url", view.row.url},
          {"user", view.row.user},
          {"workloads", view.workloads},
          {"created_at", encode_time(view.row.created_ms)},
          {"updated_at", encode_time(view.row.updated_ms)}};
}

template <typename T>
json encode_list(const char* name, const std::vector<T>& items) {
  return {{name, encode_items(items)}};
}
template json encode_list(const char*, const std::vector<catalog::SnapshotRow>&);
template json encode_list(const char*, const std::vector<catalog::UndoRow>&);
template json encode_list(const char*, const std::vector<catalog::OperationRow>&);
template json encode_list(const char*, const std::vector<catalog::Event>&);
template json encode_list(const char*, const std::vector<catalog::Setting>&);
template json encode_list(const char*, const std::vector<catalog::Finding>&);
template json encode_list(const char*, const std::vector<workload::WorkloadView>&);
template json encode_list(const char*, const std::vector<workload::VolumeView>&);
template json encode_list(const char*, const std::vector<workload::RegistryView>&);

}  // namespace cairn::api
