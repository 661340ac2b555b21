// Core: what every engine of this floor works with. Owned by Service; not for other floors.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "os/dir.h"
#include "volume/service.h"

namespace cairn::volume {

struct Core {
  catalog::Catalog& catalog;
  catalog::Operations& operations;
  docker::Engine& engine;
  repository::Repository& repository;
  parallel::LockTable& locks;
  Lifecycle& lifecycle;
  std::string data_dir;
  std::string engine_socket_path;
};

// DATA/journal, open.
Result<os::Dir> open_journal_dir(const Core& core);
// An event; a failure to write it is logged and changes nothing.
void tell(Core& core,
          const std::string& kind,
          const std::string& workload_id,
          const std::string& operation_id,
          const std::string& message);
// The settings that places depend on.
Result<PlaceSettings> read_place_settings(Core& core);
// The declared volumes of a workload: its config's, overlaid by the persisted rows.
Result<std::vector<DeclaredVolume>> declared_volumes(Core& core, const catalog::Workload& workload);
// The keys of the locks that an operation on a workload's volumes takes.
Result<std::vector<std::string>> volume_keys(Core& core, const catalog::Workload& workload);

// The time that is not Cairn's: engine calls and health waits inside a hold. One thread at a time.
class HoldClock {
 public:
  void begin();
  void end();
  // Runs a call whose time belongs to the engine.
  template <typename Call>
  auto engine(Call&& call) {
    const bool counts = begun();  // calls before the hold are nobody's time
    const Stopwatch watch;
    auto result = call();
    if (counts) outside_us_ += watch.elapsed_us();
    return result;
  }
  [[nodiscard]] bool begun() const { return begin_us_ != 0; }
  [[nodiscard]] std::int64_t hold_ms() const;
  // The hold without the time of engine() calls.
  [[nodiscard]] std::int64_t cairn_ms() const;

 private:
  std::int64_t begin_us_ = 0;
  std::int64_t end_us_ = 0;
  std::int64_t outside_us_ = 0;
};

}  // namespace cairn::volume
