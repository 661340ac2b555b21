// The server over a real socket: bounds, waits, streams, and its end.
#include "api/server.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "api/limits.h"
#include "api/problem.h"
#include "net/unix_http.h"
#include "os/file.h"

namespace cairn::api {
namespace {

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-server-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    socket_ = base_ + "/s.sock";
  }
  void TearDown() override {
    server_.reset();
    ::rmdir(base_.c_str());
  }
  void serve(Handler handler) {
    auto started = Server::start({.socket_path = socket_,
                                  .admin_group = "cairn",
                                  .spool_rule = spool_rule_,
                                  .spool_directory = base_},
                                 std::move(handler));
    ASSERT_TRUE(started.ok()) << started.error().message();
    server_ = std::move(started).value();
  }
  Result<net::Response> call(net::Request request) const {
    return net::UnixHttp(socket_).call(request);
  }

  std::string base_;
  std::string socket_;
  SpoolRule spool_rule_;
  std::unique_ptr<Server> server_;
};

// A request whose body comes from a source: size times the letter.
net::Request upload(std::string target, std::uint64_t size) {
  net::Request request{.method = "POST", .target = std::move(target)};
  request.source = net::Request::Source{
      .size_bytes = size, .read = [](std::span<std::byte> buffer) -> Result<std::size_t> {
        std::fill(buffer.begin(), buffer.end(), std::byte{'u'});
        return buffer.size();
      }};
  return request;
}

Response echo(const Request& request) {
  Response response;
  response.body = std::string(method_name(request.method)) + " " + request.path + " " +
                  std::string(request.headers.get("x-test")) + " " +
                  std::to_string(request.body.size()) + " " + request.caller.name;
  return response;
}

TEST_F(ServerTest, HandsOverTheWholeRequest) {
  serve([](Request& request) { return echo(request); });
  auto answer = call({.method = "POST",
                      .target = "/a%20b?x=1",
                      .headers = {{"X-Test", "yes"}},
                      .body = std::string(kBodyBytesMax, 'x')});
  ASSERT_TRUE(answer.ok()) << answer.error().message();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "POST /a b yes " + std::to_string(kBodyBytesMax) +
                              " uid:" + std::to_string(::getuid()));
}

TEST_F(ServerTest, OversizedBodyIsRefusedWithAReason) {
  std::atomic<int> handled{0};
  serve([&handled](Request& request) {
    ++handled;
    return echo(request);
  });
  auto answer = call({.method = "POST",
                      .target = "/a",
                      .headers = {},
                      .body = std::string(std::size_t{10} << 20U, 'x')});
  ASSERT_TRUE(answer.ok()) << answer.error().message();
  EXPECT_EQ(answer->status, 413);
  EXPECT_NE(answer->body.find("1 MiB"), std::string::npos);
  EXPECT_EQ(handled, 0);
}

TEST_F(ServerTest, OversizedHeaderAndBrokenTargetAreRefused) {
  serve([](Request& request) { return echo(request); });
  auto header = call({.method = "GET",
                      .target = "/a",
                      .headers = {{"X-Test", std::string(kHeaderBytesMax, 'h')}},
                      .body = ""});
  ASSERT_TRUE(header.ok()) << header.error().message();
  EXPECT_EQ(header->status, 431);
  auto target = call({.method = "GET", .target = "/a%00", .headers = {}, .body = ""});
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->status, 400);
  auto method = call({.method = "PATCH", .target = "/a", .headers = {}, .body = ""});
  ASSERT_TRUE(method.ok());
  EXPECT_EQ(method->status, 405);
}

TEST_F(ServerTest, SpoolsBodiesWhereTheRuleSaysSo) {
  static constexpr std::uint64_t kLimit = 5U << 20U;
  spool_rule_ = [me = "uid:" + std::to_string(::getuid())](const Request& head) {
    return head.path == "/spooled" && head.caller.name == me  // the caller is known by then
               ? std::optional<std::uint64_t>(kLimit)
               : std::nullopt;
  };
  serve([](Request& request) {
    Response response;
    if (request.spooled == nullptr) return response;
    std::string content(request.spooled->size_bytes(), '\0');
    const auto read =
        os::read_at(request.spooled->file(), std::as_writable_bytes(std::span(content)), 0);
    const bool whole =
        read.ok() && *read == content.size() && content.find_first_not_of('u') == std::string::npos;
    response.body = whole ? std::to_string(content.size()) : "broken";
    return response;
  });
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, kLimit}) {
    auto answer = call(upload("/spooled", size));
    ASSERT_TRUE(answer.ok()) << answer.error().message();
    EXPECT_EQ(answer->body, std::to_string(size));
  }
  auto over = call(upload("/spooled", kLimit + 1));
  ASSERT_TRUE(over.ok()) << over.error().message();
  EXPECT_EQ(over->status, 413);
  auto elsewhere = call(upload("/other", kLimit));
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.error().message();
  EXPECT_EQ(elsewhere->status, 413) << "no rule, so the common bound";
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(base_), {}), 1) << "the socket only";
}

TEST_F(ServerTest, HoldsSpoolsToTheirNumber) {
  spool_rule_ = [](const Request&) { return std::optional<std::uint64_t>(1000); };
  std::vector<std::shared_ptr<const Spool>> kept;
  std::mutex mutex;
  serve([&](Request& request) {
    const std::lock_guard lock(mutex);
    kept.push_back(request.spooled);
    return Response();
  });
  for (std::size_t i = 0; i < kSpoolsMax; ++i) EXPECT_EQ(call(upload("/", 10))->status, 200);
  auto more = call(upload("/", 10));
  ASSERT_TRUE(more.ok()) << more.error().message();
  EXPECT_EQ(more->status, 503);
  kept.clear();
  EXPECT_EQ(call(upload("/", 10))->status, 200);
  kept.clear();
}

TEST_F(ServerTest, SourcesAreSentPieceByPieceAndCutWhereTheyFail) {
  serve([](Request& request) {
    Response response;
    response.content_type = "application/gzip";
    response.source = [fails = request.path == "/fails"](const BodySink& sink,
                                                         const std::stop_token&) -> Status {
      for (int i = 0; i < 20; ++i) TRY(sink(std::string(100'000, 's')));
      return fails ? Status(Error(Code::kCorrupt, "in the middle")) : Status();
    };
    return response;
  });
  auto whole = call({.method = "GET", .target = "/works"});
  ASSERT_TRUE(whole.ok()) << whole.error().message();
  EXPECT_EQ(*whole->find("Content-Type"), "application/gzip");
  EXPECT_EQ(whole->body, std::string(2'000'000, 's'));
  auto cut = call({.method = "GET", .target = "/fails"});
  ASSERT_FALSE(cut.ok()) << "half a body must not look whole";
  EXPECT_EQ(cut.error().code(), Code::kUnavailable);
}

TEST_F(ServerTest, WaitsDoNotKeepOthersFromBeingServed) {
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  serve([released](Request& request) {
    if (request.path != "/wait") return echo(request);
    Response response;
    response.later = [released](const std::stop_token&) {
      released.wait();
      Response late;
      late.body = "late";
      return late;
    };
    return response;
  });
  // More waits than there are handler threads.
  std::vector<std::future<std::string>> waits;
  for (std::size_t i = 0; i < 2 * kHandlersMax; ++i) {
    waits.push_back(std::async(std::launch::async, [this] {
      auto answer = call({.method = "GET", .target = "/wait", .headers = {}, .body = ""});
      return answer.ok() ? answer->body : answer.error().message();
    }));
  }
  auto quick = call({.method = "GET", .target = "/quick", .headers = {}, .body = ""});
  EXPECT_TRUE(quick.ok());
  release.set_value();
  for (auto& wait : waits) EXPECT_EQ(wait.get(), "late");
}

TEST_F(ServerTest, StreamsEventsAndEnds) {
  serve([](Request&) {
    Response response;
    response.stream = [](EventStream& events) {
      ASSERT_TRUE(events.send("progress", "one\ntwo", "7").ok());
      ASSERT_TRUE(events.keep_alive().ok());
      ASSERT_TRUE(events.send("done", "{}", "").ok());
    };
    return response;
  });
  auto answer = call({.method = "GET", .target = "/e", .headers = {}, .body = ""});
  ASSERT_TRUE(answer.ok()) << answer.error().message();
  EXPECT_EQ(*answer->find("Content-Type"), "text/event-stream");
  EXPECT_EQ(answer->body,
            "id: 7\nevent: progress\ndata: one\ndata: two\n\n: \n\nevent: done\ndata: {}\n\n");
}

TEST_F(ServerTest, StreamNoticesThatItsClientIsGone) {
  std::promise<void> noticed;
  serve([&noticed](Request&) {
    Response response;
    response.stream = [&noticed](EventStream& events) {
      ASSERT_TRUE(events.send("first", "{}", "").ok());
      std::promise<void> stopped;
      const std::stop_callback on_stop(events.stop(), [&stopped] { stopped.set_value(); });
      stopped.get_future().wait();
      noticed.set_value();
    };
    return response;
  });
  auto answer =
      net::UnixHttp(socket_).stream({.method = "GET", .target = "/e", .headers = {}, .body = ""},
                                    {}, [](std::string_view) { return false; });
  EXPECT_TRUE(answer.ok());
  noticed.get_future().wait();
}

TEST_F(ServerTest, StopEndsStreamsAndWaitsAndFreesTheSocket) {
  std::promise<void> began;
  serve([&began](Request&) {
    Response response;
    response.later = [&began](const std::stop_token& stop) {
      began.set_value();
      std::promise<void> stopped;
      const std::stop_callback on_stop(stop, [&stopped] { stopped.set_value(); });
      stopped.get_future().wait();
      return problem(Error(Code::kUnavailable, "the daemon stops"), "req_1");
    };
    return response;
  });
  auto waiting = std::async(std::launch::async, [this] {
    return call({.method = "GET", .target = "/wait", .headers = {}, .body = ""});
  });
  began.get_future().wait();
  server_->stop();
  auto answer = waiting.get();
  ASSERT_TRUE(answer.ok()) << answer.error().message();
  EXPECT_EQ(answer->status, 503);
  EXPECT_NE(::access(socket_.c_str(), F_OK), 0);
}

TEST(CallerOf, RootAndTheGroupAreAdmins) {
  EXPECT_EQ(caller_of({.pid = 1, .uid = 0, .gid = 0, .groups = {}}, std::nullopt).role,
            Role::kAdmin);
  EXPECT_EQ(caller_of({.pid = 1, .uid = 7, .gid = 50, .groups = {}}, 50).role, Role::kAdmin);
  EXPECT_EQ(caller_of({.pid = 1, .uid = 7, .gid = 7, .groups = {9, 50}}, 50).role, Role::kAdmin);
  EXPECT_EQ(caller_of({.pid = 1, .uid = 7, .gid = 7, .groups = {9}}, 50).role, Role::kNone);
  EXPECT_EQ(caller_of({.pid = 1, .uid = 7, .gid = 7, .groups = {0}}, std::nullopt).role,
            Role::kNone);
}

}  // namespace
}  // namespace cairn::api
