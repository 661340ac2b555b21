// What the daemon opens before anything else: keys, catalog, repository.
#pragma once

#include <memory>
#include <string>

#include "api/services.h"
#include "apps/cairnd/config.h"
#include "apps/cairnd/data_dir.h"
#include "base/result.h"
#include "catalog/catalog.h"
#include "codec/sealer.h"
#include "repository/repository.h"

namespace cairn::daemon {

// Declared in the order in which they depend on each other.
struct Stores {
  api::RecoveryKit kit;
  std::unique_ptr<codec::Sealer> sealer;
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<repository::Repository> repository;
};

// Keys and repository are made at the first start. kConflict: a newer Cairn's catalog.
Result<Stores> open_stores(const Config& config, const DataDir& data);

}  // namespace cairn::daemon
