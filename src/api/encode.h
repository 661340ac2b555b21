// Values of the lower floors as the API's JSON. Times are ISO 8601 UTC with milliseconds, null
// where there is none; sizes are bytes. Pure functions; no secret goes through here.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/events.h"
#include "catalog/operations.h"
#include "catalog/releases.h"
#include "catalog/settings.h"
#include "catalog/snapshots.h"
#include "catalog/undos.h"
#include "volume/service.h"
#include "workload/service.h"

namespace cairn::api {

nlohmann::json encode_time(std::int64_t wall_ms);
nlohmann::json encode(const catalog::Release& release);
nlohmann::json encode(const catalog::SnapshotRow& row);
nlohmann::json encode(const catalog::UndoRow& row);
nlohmann::json encode(const catalog::OperationRow& row);
nlohmann::json encode(const catalog::Event& event);
nlohmann::json encode(const catalog::Setting& setting);
nlohmann::json encode(const volume::RestorePlan& plan);
nlohmann::json encode(const volume::CaptureForecast& forecast);
nlohmann::json encode(const volume::AdoptForecast& forecast);
nlohmann::json encode(const volume::RestoreResult& result);
nlohmann::json encode(const catalog::Finding& finding);
nlohmann::json encode(const workload::WorkloadView& view);
nlohmann::json encode(const workload::VolumeView& view);
nlohmann::json encode(const workload::DeployResult& result);
nlohmann::json encode(const workload::RegistryView& view);

// {"snapshots": [...]}: lists are records, so that they can grow.
template <typename T>
nlohmann::json encode_list(const char* name, const std::vector<T>& items);

}  // namespace cairn::api
