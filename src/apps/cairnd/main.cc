// cairnd: the daemon, built by hand from top to bottom. What is declared later uses what is
// declared earlier; the order of declarations is the order of shutdown, reversed.
#include <csignal>
#include <exception>
#include <string>
#include <vector>

#include "api/router.h"
#include "api/routes.h"
#include "api/server.h"
#include "api/services.h"
#include "apps/cairnd/data_dir.h"
#include "apps/cairnd/options.h"
#include "apps/cairnd/stores.h"
#include "base/clock.h"
#include "base/log.h"
#include "docker/client.h"
#include "os/file.h"
#include "os/process.h"
#include "os/signals.h"
#include "os/unix_socket.h"
#include "parallel/keyed_lock.h"
#include "volume/archive_parser.h"
#include "volume/pause.h"
#include "volume/service.h"
#include "workload/service.h"

namespace {

using namespace cairn;

const std::vector<int> kEndSignals{SIGTERM, SIGINT};
constexpr int kHousekeepingMs = 60'000;

// Undos whose time is over go as an operation of their own, so that the main thread stays free for
// signals.
void housekeeping(catalog::Catalog& catalog,
                  catalog::Operations& operations,
                  volume::Service& volumes) {
  auto expired = catalog.undos().list_expired(wall_ms());
  if (!expired.ok()) return log::warn("look for expired undos: {}", expired.error().message());
  if (expired->empty()) return;
  auto started = operations.start({.kind = "restore.expire", .workload_id = "", .actor = "cairnd"},
                                  [&volumes](catalog::OperationContext&) -> Result<std::string> {
                                    volumes.expire_undos();
                                    return std::string("{}");
                                  });
  if (!started.ok()) log::warn("remove expired undos: {}", started.error().message());
}

// Until somebody asks for the end.
Status wait_for_end(catalog::Catalog& catalog,
                    catalog::Operations& operations,
                    volume::Service& volumes) {
  for (;;) {
    TRY_ASSIGN(const std::optional<int> signal, os::wait_signal(kEndSignals, kHousekeepingMs));
    if (signal.has_value()) return {};
    housekeeping(catalog, operations, volumes);
  }
}

// Bodies of operations use everything, so they end before anything is taken down.
void drain(catalog::Operations& operations) {
  operations.begin_shutdown();
  auto rows = operations.list("", catalog::kOperationsPerListMax);
  if (!rows.ok()) return;
  for (const catalog::OperationRow& row : *rows) {
    if (row.state != catalog::OperationState::kRunning) continue;
    log::info("waiting for operation {} ({})", row.id, row.kind);
    // What became of it is in its row.
    (void)operations.wait(row.id).ok();
  }
}

// The recovery's thread asks the volume service for places, so it ends before that goes.
struct EndRecovery {
  workload::Workloads& workloads;
  ~EndRecovery() { workloads.end_recovery(); }
};

// Bodies of operations use everything that run() builds, so they end before it goes.
struct EndOperations {
  catalog::Operations& operations;
  ~EndOperations() { drain(operations); }
};

// Who changes what, before it begins. What destroys or takes back may use the catalog's reserve: a
// full disk must not stand in the way of making room.
Status write_audit(catalog::Catalog& catalog,
                   const api::Request& request,
                   const api::Route& route) {
  const catalog::AuditEntry entry{.actor = request.caller.name,
                                  .action = std::string(route.action),
                                  .subject = request.path,
                                  .detail = request.id};
  auto written = catalog.audit().append(entry);
  const bool frees = !route.confirm.header.empty() || route.method == api::Method::kDelete;
  if (!written.ok() && written.error().code() == Code::kNoSpace && frees) {
    TRY(catalog.release_reserve());
    written = catalog.audit().append(entry);
  }
  return written.ok() ? Status() : Status(written.error());
}

Status run(const daemon::Config& config) {
  os::ignore_broken_pipes();
  os::raise_descriptor_limit();  // one descriptor a level of a deep tree
  TRY(os::block_signals(kEndSignals));
  TRY_ASSIGN(const std::string engine_socket, docker::EngineClient::parse_address(config.docker));

  TRY_ASSIGN(const daemon::DataDir data, daemon::DataDir::open(config.data_dir));
  // Before anything is made or recovered: who cannot serve has no business there.
  TRY(os::check_unix(config.socket_path));
  TRY_ASSIGN(const daemon::Stores stores, daemon::open_stores(config, data));
  docker::EngineClient engine(engine_socket);
  parallel::LockTable locks;
  catalog::Operations operations(*stores.catalog);
  volume::Service* volumes_later = nullptr;
  workload::Workloads workloads(
      {.catalog = *stores.catalog,
       .engine = engine,
       .locks = locks,
       .place_settings = [&volumes_later] { return volumes_later->place_settings(); }});
  volume::Service volumes({.catalog = *stores.catalog,
                           .operations = operations,
                           .engine = engine,
                           .repository = *stores.repository,
                           .locks = locks,
                           .engine_socket_path = engine_socket},
                          config.data_dir, workloads);
  volumes_later = &volumes;
  const EndRecovery end_recovery{workloads};
  const EndOperations end_operations{operations};

  log::info("recovering what was unfinished");
  os::notify_service_manager("EXTEND_TIMEOUT_USEC=600000000\nSTATUS=recovering");
  TRY_CONTEXT(volumes.recover(), "recover volumes");
  TRY_CONTEXT(workloads.recover(), "recover workloads");

  api::Services services{.catalog = *stores.catalog,
                         .operations = operations,
                         .engine = engine,
                         .volumes = volumes,
                         .workloads = workloads,
                         .kit = stores.kit,
                         .info = {.version = CAIRN_VERSION,
                                  .data_dir = config.data_dir,
                                  .socket_path = config.socket_path,
                                  .engine_socket_path = engine_socket,
                                  .repository_id = stores.repository->id(),
                                  .started_ms = wall_ms()}};
  api::Router router(api::all_routes(), services,
                     [&](const api::Request& request, const api::Route& route) {
                       return write_audit(*stores.catalog, request, route);
                     });
  TRY_ASSIGN(
      const std::unique_ptr<api::Server> server,
      api::Server::start(
          {.socket_path = config.socket_path,
           .spool_rule = [&router](const api::Request& head) { return router.spool_limit(head); },
           .spool_directory = config.data_dir},
          [&router](api::Request& request) { return router.handle(request); }));
  log::info("cairnd {} serves {} from {}", CAIRN_VERSION, config.socket_path, config.data_dir);
  os::notify_service_manager("READY=1\nSTATUS=serving");

  const Status ended = wait_for_end(*stores.catalog, operations, volumes);
  log::info("stopping");
  os::notify_service_manager("STOPPING=1");
  operations.begin_shutdown();
  server->stop();
  return ended;
}

}  // namespace

int main(int argc, char** argv) {
  // The small process that thaws containers when the daemon is gone; not for people.
  if (argc > 1 && std::string(argv[1]) == "pause-watcher") {
    return volume::run_pause_watcher({argv + 2, argv + argc});
  }
  // Looks at archives from elsewhere, in a cage; not for people either.
  if (argc > 1 && std::string(argv[1]) == "archive-parser") return volume::run_archive_parser();
  try {
    const daemon::Options options = daemon::parse_options(argc, argv);
    if (options.exit_code.has_value()) return *options.exit_code;
    log::setup(options.config.log_format, options.config.log_level);
    const Status ended = run(options.config);
    if (ended.ok()) return 0;
    log::error("{}", ended.error().message());
  } catch (const std::exception& failure) {
    log::error("cairnd threw: {}", failure.what());
  }
  return 1;
}
