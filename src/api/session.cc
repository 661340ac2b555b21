// request: first byte -> header -> body -> [handler pool] -> answer
//                                                       \-> [waiting pool] later or stream ->
//                                                       answer
#include "api/session.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <future>
#include <sstream>
#include <utility>

#include "api/limits.h"
#include "api/problem.h"
#include "base/ids.h"
#include "base/log.h"

namespace cairn::api {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

std::chrono::milliseconds ms(std::int64_t value) {
  return std::chrono::milliseconds(value);
}

std::optional<Method> method_of(http::verb verb) {
  if (verb == http::verb::get || verb == http::verb::head) return Method::kGet;
  if (verb == http::verb::post) return Method::kPost;
  if (verb == http::verb::put) return Method::kPut;
  if (verb == http::verb::delete_) return Method::kDelete;
  return std::nullopt;
}

std::string_view view(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

// The stream's side of a waiting thread: each send crosses to the network thread and waits there.
class WaitingStream final : public EventStream {
 public:
  explicit WaitingStream(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  Status send(std::string_view event, std::string_view data, std::string_view id) override {
    std::string text;
    if (!id.empty()) text.append("id: ").append(id).append("\n");
    text.append("event: ").append(event).append("\n");
    while (true) {
      const std::size_t end = data.find('\n');
      text.append("data: ").append(data.substr(0, end)).append("\n");
      if (end == std::string_view::npos) break;
      data.remove_prefix(end + 1);
    }
    text.append("\n");
    return write(std::move(text));
  }
  Status keep_alive() override { return write(": \n\n"); }
  [[nodiscard]] std::stop_token stop() const override { return session_->gone_.get_token(); }

  Status piece(std::string_view bytes) { return write(std::string(bytes)); }

  Status begin(std::string header) { return write_raw(std::move(header)); }
  // The last chunk.
  Status finish() { return write_raw("0\r\n\r\n"); }

 private:
  Status write(std::string text) {
    std::string size;
    for (std::size_t left = text.size(); left > 0; left /= 16) {
      size.insert(size.begin(), "0123456789abcdef"[left % 16]);
    }
    return write_raw(size + "\r\n" + std::move(text) + "\r\n");
  }

  Status write_raw(std::string bytes) {
    if (stop().stop_requested()) return Error(Code::kCancelled, "the client is gone");
    std::promise<bool> done;
    std::future<bool> written = done.get_future();
    asio::post(session_->stream_.get_executor(), [this, &bytes, &done] {
      session_->stream_.expires_after(ms(kWriteTimeoutMs));
      asio::async_write(
          session_->stream_, asio::buffer(bytes),
          [&done](beast::error_code failure, std::size_t) { done.set_value(!failure); });
    });
    if (written.get()) return {};
    session_->gone_.request_stop();
    return Error(Code::kCancelled, "the client is gone");
  }

  std::shared_ptr<Session> session_;
};

Session::Session(Stream stream, Caller caller, Shared& shared)
    : stream_(std::move(stream)), caller_(std::move(caller)), shared_(shared) {
  const std::lock_guard lock(shared_.mutex);
  shared_.sessions.insert(this);
  ++shared_.open;
}

Session::~Session() {
  {
    const std::lock_guard lock(shared_.mutex);
    shared_.sessions.erase(this);
    --shared_.open;
  }
  if (shared_.on_closed) shared_.on_closed();
}

void Session::wind_down() {
  keep_alive_ = false;
  gone_.request_stop();
  if (!busy_) close();
}

void Session::close() {
  closed_ = true;
  gone_.request_stop();
  stream_.close();
}

// An idle connection may stay for long; from its first byte on a request has to hurry.
void Session::read_first_byte() {
  busy_ = false;
  spool_parser_.reset();
  spool_.reset();
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(kHeaderBytesMax));
  // Decided with the head: a bound here would refuse a body before it is known whose it is.
  parser_->body_limit(boost::none);
  if (buffer_.size() > 0) return read_header();
  stream_.expires_after(ms(kIdleTimeoutMs));
  stream_.async_read_some(buffer_.prepare(4096),
                          [self = shared_from_this()](beast::error_code failure, std::size_t n) {
                            if (failure) return self->close();
                            self->buffer_.commit(n);
                            self->read_header();
                          });
}

void Session::read_header() {
  stream_.expires_after(ms(kHeaderTimeoutMs));
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](beast::error_code failure, std::size_t) {
                            if (failure) return self->on_read_failed(failure);
                            self->busy_ = true;
                            const auto spooled = self->spool_limit();
                            const std::uint64_t max = spooled.value_or(kBodyBytesMax);
                            if (self->parser_->content_length().value_or(0) > max) {
                              return self->on_read_failed(http::error::body_limit);
                            }
                            if (spooled.has_value()) return self->open_spool(*spooled);
                            self->parser_->body_limit(kBodyBytesMax);
                            self->read_body();
                          });
}

void Session::read_body() {
  stream_.expires_after(ms(kBodyTimeoutMs));
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](beast::error_code failure, std::size_t) {
                     if (failure) return self->on_read_failed(failure);
                     auto message = self->parser_->release();
                     self->keep_alive_ = self->keep_alive_ && message.keep_alive();
                     std::string body = std::move(message.body());
                     self->dispatch(message.base(), std::move(body));
                   });
}

// Decided by the head alone, before a byte of the body is taken.
std::optional<std::uint64_t> Session::spool_limit() const {
  if (!shared_.spool_rule) return std::nullopt;
  const auto& message = parser_->get();
  const std::optional<Method> method = method_of(message.method());
  Request head;
  if (!method.has_value() || !parse_target(view(message.target()), head).ok()) return std::nullopt;
  head.method = *method;
  head.caller = caller_;
  return shared_.spool_rule(head);
}

void Session::open_spool(std::uint64_t bytes_max) {
  auto spool = Spool::open(shared_.spool_directory, shared_.spools);
  if (!spool.ok()) {
    keep_alive_ = false;
    request_id_ = ids::make("req_");
    return write(problem(spool.error(), request_id_));
  }
  spool_ = std::move(spool).value();
  spool_parser_.emplace(std::move(*parser_));
  spool_parser_->body_limit(bytes_max);
  spool_buffer_.resize(kSpoolPieceBytes);
  read_spooled();
}

void Session::read_spooled() {
  auto& body = spool_parser_->get().body();
  body.data = spool_buffer_.data();
  body.size = spool_buffer_.size();
  stream_.expires_after(ms(kBodyTimeoutMs));
  http::async_read(stream_, buffer_, *spool_parser_,
                   [self = shared_from_this()](beast::error_code failure, std::size_t) {
                     if (failure && failure != http::error::need_buffer) {
                       return self->on_read_failed(failure);
                     }
                     self->append_spooled();
                   });
}

// The disk may be slow: it is written to on a handler's thread, and read on after that.
void Session::append_spooled() {
  stream_.expires_never();
  const std::size_t size = spool_buffer_.size() - spool_parser_->get().body().size;
  const auto next = [self = shared_from_this()](const Status& appended) {
    if (!appended.ok()) {
      self->keep_alive_ = false;
      self->request_id_ = ids::make("req_");
      return self->write(problem(appended.error(), self->request_id_));
    }
    if (!self->spool_parser_->is_done()) return self->read_spooled();
    auto message = self->spool_parser_->release();
    self->keep_alive_ = self->keep_alive_ && message.keep_alive();
    self->dispatch(message.base(), {});
  };
  const bool taken = shared_.handlers.try_post([self = shared_from_this(), size, next] {
    const Status appended = self->spool_->append(ByteView(self->spool_buffer_).first(size));
    asio::post(self->stream_.get_executor(), [next, appended] { next(appended); });
  });
  if (!taken) next(Error(Code::kUnavailable, "the daemon has too much to do"));
}

// What the peer did wrong is said once, then the connection ends: its next byte has no meaning.
void Session::on_read_failed(beast::error_code failure) {
  keep_alive_ = false;
  busy_ = true;
  request_id_ = ids::make("req_");
  if (failure == http::error::body_limit) {
    const bool spooled = spool_ != nullptr || spool_limit().has_value();
    const char* what =
        !spooled ? "the body is larger than 1 MiB" : "the archive is larger than allowed";
    return write(problem(413, Error(Code::kInvalid, what), request_id_));
  }
  if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
    return write(
        problem(431, Error(Code::kInvalid, "the header is larger than 16 KiB"), request_id_));
  }
  if (failure == beast::error::timeout) {
    // basic_stream has closed the connection already.
    return close();
  }
  if (failure == http::error::end_of_stream || failure == http::error::partial_message ||
      failure.category() != http::make_error_code(http::error::bad_method).category()) {
    return close();
  }
  write(problem(400, Error(Code::kInvalid, "not an HTTP request: " + failure.message()),
                request_id_));
}

void Session::dispatch(const http::request_header<>& head, std::string body) {
  // Handlers may take long, and a stream has its own time-outs.
  stream_.expires_never();
  head_only_ = head.method() == http::verb::head;
  request_id_ = ids::make("req_");
  const std::optional<Method> method = method_of(head.method());
  if (!method.has_value()) {
    return write(problem(405, Error(Code::kInvalid, "no route has this method"), request_id_));
  }

  auto request = std::make_shared<Request>();
  request->method = *method;
  request->id = request_id_;
  request->caller = caller_;
  request->body = std::move(body);
  request->spooled = std::move(spool_);
  for (const auto& field : head) {
    request->headers.add(view(field.name_string()), view(field.value()));
  }
  if (auto parsed = parse_target(view(head.target()), *request); !parsed.ok()) {
    return write(problem(parsed.error(), request_id_));
  }
  const bool taken = shared_.handlers.try_post(
      [self = shared_from_this(), request] { self->answer(self->shared_.handler(*request)); });
  if (!taken) {
    write(problem(Error(Code::kUnavailable, "the daemon has too much to do"), request_id_));
  }
}

void Session::answer(Response response) {
  asio::post(stream_.get_executor(),
             [self = shared_from_this(), response = std::move(response)]() mutable {
               self->on_answer(std::move(response));
             });
}

void Session::on_answer(Response response) {
  if (response.later) return run_later(std::move(response));
  if ((response.stream || response.source) && !head_only_) return run_stream(std::move(response));
  write(std::move(response));
}

void Session::run_later(Response response) {
  watch_peer();
  const bool taken =
      shared_.waiters.try_post([self = shared_from_this(), later = std::move(response.later)] {
        self->answer(later(self->gone_.get_token()));
      });
  if (!taken) {
    write(problem(Error(Code::kUnavailable, "too many calls wait; use Prefer: respond-async"),
                  request_id_));
  }
}

Session::Wire Session::head(const Response& response) const {
  Wire wire(http::int_to_status(static_cast<unsigned>(response.status)), 11);
  wire.set(http::field::server, "cairnd");
  if (response.status != 204) wire.set(http::field::content_type, response.content_type);
  wire.set(http::field::cache_control, "no-store");
  wire.set("X-Request-Id", request_id_);
  for (const auto& [name, value] : response.headers.all()) wire.set(name, value);
  wire.keep_alive(keep_alive_);
  return wire;
}

void Session::write(Response response) {
  if (closed_) return;
  wire_ = std::make_unique<Wire>(head(response));
  if (response.status != 204) {
    wire_->content_length(response.body.size());
    if (!head_only_) wire_->body() = std::move(response.body);
  }
  stream_.expires_after(ms(kWriteTimeoutMs));
  auto done = [self = shared_from_this()](beast::error_code failure, std::size_t) {
    if (failure) return self->close();
    if (self->keep_alive_) return self->read_first_byte();
    self->drain_and_close();
  };
  http::async_write(stream_, *wire_, std::move(done));
}

// A stream ends with its connection: nothing else is read on it. One whose source failed ends
// without the last chunk, which its reader sees.
void Session::run_stream(Response response) {
  keep_alive_ = false;
  Wire wire = head(response);
  if (response.stream) wire.set(http::field::content_type, "text/event-stream");
  wire.chunked(true);
  std::ostringstream text;
  text << wire.base();
  watch_peer();
  const bool taken = shared_.waiters.try_post(
      [self = shared_from_this(), text = text.str(), response = std::move(response)] {
        WaitingStream out(self);
        if (out.begin(text).ok()) {
          Status whole;
          if (response.stream) {
            response.stream(out);
          } else {
            whole = response.source([&out](std::string_view bytes) { return out.piece(bytes); },
                                    out.stop());
          }
          if (!whole.ok()) {
            log::warn("{}: the answer broke off: {}", self->request_id_, whole.error().message());
          } else {
            // Best effort: a client that is gone reads no end.
            (void)out.finish().ok();
          }
        }
        asio::post(self->stream_.get_executor(), [self] { self->close(); });
      });
  if (!taken) {
    write(problem(Error(Code::kUnavailable, "too many streams are open"), request_id_));
  }
}

// While a call waits, the only thing to read is that the client has gone; a client that sends more
// meanwhile (pipelining) keeps its bytes for later.
void Session::watch_peer() {
  if (watching_ || closed_ || buffer_.size() > 0) return;
  watching_ = true;
  stream_.socket().async_wait(asio::local::stream_protocol::socket::wait_read,
                              [self = shared_from_this()](beast::error_code failure) {
                                self->watching_ = false;
                                if (failure || self->closed_) return;
                                beast::error_code unreadable;
                                if (self->stream_.socket().available(unreadable) == 0)
                                  self->gone_.request_stop();
                              });
}

// A peer that still sends its body would otherwise lose our answer to a reset connection.
void Session::drain_and_close() {
  beast::error_code ignored;
  stream_.socket().shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
  stream_.expires_after(ms(kDrainTimeoutMs));
  stream_.async_read_some(asio::buffer(scratch_),
                          [self = shared_from_this()](beast::error_code failure, std::size_t n) {
                            self->drained_bytes_ += n;
                            if (failure || self->drained_bytes_ > kDrainBytesMax)
                              return self->close();
                            self->drain_and_close();
                          });
}

}  // namespace cairn::api
