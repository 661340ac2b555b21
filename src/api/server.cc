#include "api/server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "api/limits.h"
#include "api/session.h"
#include "base/log.h"

namespace cairn::api {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

Caller caller_of(const os::Peer& peer, std::optional<gid_t> admin_group) {
  const bool member = admin_group.has_value() &&
                      (peer.gid == *admin_group || std::find(peer.groups.begin(), peer.groups.end(),
                                                             *admin_group) != peer.groups.end());
  return {.role = peer.uid == 0 || member ? Role::kAdmin : Role::kNone,
          .name = "uid:" + std::to_string(peer.uid)};
}

class Server::Loop {
 public:
  Loop(const ServerOptions& options, std::optional<gid_t> admin_group, Handler handler)
      : options_(options),
        admin_group_(admin_group),
        shared_{.handler = std::move(handler),
                .handlers = {kHandlersMax, kConnectionsMax},
                .waiters = {kWaitersMax, 0},
                .on_closed = {},
                .spool_rule = options.spool_rule,
                .spool_directory = options.spool_directory,
                .mutex = {},
                .sessions = {}} {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { stop(); }

  Status start(os::Fd listener) {
    boost::system::error_code failure;
    acceptor_.assign(Protocol(), listener.get(), failure);
    if (failure) return Error(Code::kInternal, "serve " + options_.socket_path);
    // The acceptor closes it from now on.
    (void)listener.release();
    shared_.on_closed = [this] { asio::post(shared_.io, [this] { accept(); }); };
    accept();
    try {
      network_ = std::thread([this] { run(); });
    } catch (const std::system_error& thrown) {
      return Error(Code::kInternal, std::string("start the network thread: ") + thrown.what());
    }
    return {};
  }

  void stop() {
    if (!network_.joinable()) return;
    asio::post(shared_.io, [this] { wind_down(); });
    // Their answers still leave: the network thread goes on.
    shared_.handlers.stop();
    shared_.waiters.stop();
    asio::post(shared_.io, [this] {
      wind_down();
      work_.reset();
      deadline_.expires_after(std::chrono::milliseconds(kStopGraceMs));
      deadline_.async_wait([this](boost::system::error_code) { shared_.io.stop(); });
      stop_when_all_closed();
    });
    network_.join();
    os::remove_socket(options_.socket_path);
  }

 private:
  void run() {
    for (;;) {
      try {
        shared_.io.run();
        return;
      } catch (const std::exception& failure) {
        log::error("the network thread threw: {}", failure.what());
      }
    }
  }

  // With all places taken nobody is accepted: clients wait in the kernel's queue.
  void accept() {
    if (stopping_ || accepting_ || shared_.open.load() >= kConnectionsMax) return;
    accepting_ = true;
    acceptor_.async_accept([this](boost::system::error_code failure, Protocol::socket socket) {
      accepting_ = false;
      if (stopping_) return;
      if (failure) {
        log::warn("accept on {}: {}", options_.socket_path, failure.message());
        return retry_accept();
      }
      if (auto peer = os::peer_of(socket.native_handle()); peer.ok()) {
        std::make_shared<Session>(Stream(std::move(socket)), caller_of(*peer, admin_group_),
                                  shared_)
            ->start();
      } else {
        log::warn("refused a connection: {}", peer.error().message());
      }
      accept();
    });
  }

  // Out of descriptors, most likely: trying at once again would only burn the processor.
  void retry_accept() {
    retry_.expires_after(std::chrono::milliseconds(kWaitStepMs));
    retry_.async_wait([this](boost::system::error_code failure) {
      if (!failure) accept();
    });
  }

  void wind_down() {
    if (!stopping_) {
      stopping_ = true;
      boost::system::error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    }
    std::vector<std::shared_ptr<Session>> open;
    {
      const std::lock_guard lock(shared_.mutex);
      for (Session* session : shared_.sessions) {
        if (auto held = session->weak_from_this().lock()) open.push_back(std::move(held));
      }
    }
    for (const auto& session : open) session->wind_down();
  }

  void stop_when_all_closed() {
    if (shared_.open.load() == 0) {
      shared_.io.stop();
      return;
    }
    shared_.on_closed = [this] { asio::post(shared_.io, [this] { stop_when_all_closed(); }); };
  }

  const ServerOptions options_;
  const std::optional<gid_t> admin_group_;
  Shared shared_;
  // Network thread only, after start().
  Protocol::acceptor acceptor_{shared_.io};
  asio::steady_timer retry_{shared_.io};
  asio::steady_timer deadline_{shared_.io};
  asio::executor_work_guard<asio::io_context::executor_type> work_{shared_.io.get_executor()};
  bool accepting_ = false;
  bool stopping_ = false;
  std::thread network_;
};

Server::Server(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, Handler handler) {
  TRY_ASSIGN(const std::optional<gid_t> group, os::find_group(options.admin_group));
  TRY_ASSIGN(os::Fd listener, os::listen_unix(options.socket_path, options.admin_group));
  auto loop = std::make_unique<Loop>(options, group, std::move(handler));
  TRY(loop->start(std::move(listener)));
  return std::unique_ptr<Server>(new Server(std::move(loop)));
}

void Server::stop() {
  loop_->stop();
}

}  // namespace cairn::api
