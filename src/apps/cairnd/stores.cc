#include "apps/cairnd/stores.h"

#include "base/log.h"
#include "base/strings.h"
#include "catalog/keys.h"
#include "os/dir.h"

namespace cairn::daemon {

namespace {

// restic's locks name the machine, so that a lock of a dead process can be told from another
// machine's.
std::string host_name() {
  constexpr std::size_t kHostBytesMax = 256;
  auto kernel = os::Dir::open("/proc/sys/kernel");
  if (!kernel.ok()) return "localhost";
  auto name = kernel->read_file("hostname", kHostBytesMax);
  return name.ok() ? std::string(trim(*name)) : "localhost";
}

Result<std::unique_ptr<repository::Repository>> open_repository(const std::string& path,
                                                                const std::string& password) {
  const repository::Owner owner{.hostname = host_name(), .username = "root"};
  auto opened = repository::Repository::open(path, password, owner);
  if (opened.ok() || opened.error().code() != Code::kNotFound) return opened;
  log::info("making the repository {}", path);
  return repository::Repository::init(path, password, owner);
}

}  // namespace

Result<Stores> open_stores(const Config& config, const DataDir& data) {
  Stores stores;
  TRY_ASSIGN(const codec::SealingKey key, catalog::load_or_create_sealing_key(data.dir()));
  TRY_ASSIGN(stores.kit.password, catalog::load_or_create_repository_password(data.dir()));
  stores.kit.sealing_key = codec::to_text(key);
  stores.kit.repository = config.data_dir + "/repo";
  stores.sealer = std::make_unique<codec::Sealer>(key);

  TRY_ASSIGN(stores.catalog, catalog::Catalog::open(config.data_dir, *stores.sealer));
  TRY_CONTEXT(stores.catalog->settings().set_config_values(config.settings), "settings");

  TRY_ASSIGN(stores.repository, open_repository(stores.kit.repository, stores.kit.password));
  // Ours of before a crash; somebody else's fresh locks stay.
  TRY(stores.repository->remove_stale_locks());
  return stores;
}

}  // namespace cairn::daemon
