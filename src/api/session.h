// Session: one connection of the server. Everything happens on the server's one network thread but
// answer() and what WaitingStream does; the last reference may go on any thread. Included by
// server.cc and session.cc only: it shows Boost.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "api/http.h"
#include "api/spool.h"
#include "api/worker_pool.h"

namespace cairn::api {

using Stream = boost::beast::basic_stream<boost::asio::local::stream_protocol>;

class Session;

// What sessions share. Outlives them all.
struct Shared {
  boost::asio::io_context io{1};
  Handler handler;
  WorkerPool handlers;
  WorkerPool waiters;
  std::function<void()> on_closed;  // a place for a connection is free again; from any thread
  SpoolRule spool_rule;             // may be empty: nothing is spooled
  std::string spool_directory;
  SpoolCount spools = std::make_shared<std::atomic<std::uint64_t>>(0);
  std::atomic<std::uint64_t> open{0};
  std::mutex mutex;
  std::set<Session*> sessions;  // guarded by mutex
};

class Session final : public std::enable_shared_from_this<Session> {
 public:
  Session(Stream stream, Caller caller, Shared& shared);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start() { read_first_byte(); }
  // Ends an idle connection now, a busy one after its answer; asks waits and streams to end.
  void wind_down();

 private:
  friend class WaitingStream;
  using Wire = boost::beast::http::response<boost::beast::http::string_body>;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  void read_first_byte();
  void read_header();
  void read_body();
  [[nodiscard]] std::optional<std::uint64_t> spool_limit() const;
  void open_spool(std::uint64_t bytes_max);
  void read_spooled();
  void append_spooled();
  void on_read_failed(boost::beast::error_code failure);
  void dispatch(const boost::beast::http::request_header<>& head, std::string body);
  // From any thread: hands an answer over to the network thread.
  void answer(Response response);
  void on_answer(Response response);
  void run_later(Response response);
  void write(Response response);
  void run_stream(Response response);
  void watch_peer();
  void drain_and_close();
  void close();
  [[nodiscard]] Wire head(const Response& response) const;

  Stream stream_;
  Caller caller_;
  Shared& shared_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  // While a body is spooled; the parser has taken over from the one above.
  std::optional<boost::beast::http::request_parser<boost::beast::http::buffer_body>> spool_parser_;
  std::shared_ptr<Spool> spool_;
  Bytes spool_buffer_;
  std::unique_ptr<Wire> wire_;
  std::stop_source gone_;  // requested once the client is gone or the daemon stops
  std::array<char, 4096> scratch_{};
  std::uint64_t drained_bytes_ = 0;
  std::string request_id_;
  bool head_only_ = false;
  bool keep_alive_ = true;
  bool busy_ = false;      // between a request's header and the end of its answer
  bool watching_ = false;  // a read looks for the client's end
  bool closed_ = false;
};

}  // namespace cairn::api
