// The client against a server of canned replies on a Unix socket.
#include "net/unix_http.h"

#include <gtest/gtest.h>

#include <thread>

#include "net/canned_server.h"

namespace cairn::net {
namespace {

TEST(UnixHttp, CallsAndReadsTheReply) {
  CannedServer server({"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nA: b\r\n\r\nbody"});
  auto reply = UnixHttp(server.path())
                   .call({.method = "POST", .target = "/x", .headers = {}, .body = "ask"});
  ASSERT_TRUE(reply.ok()) << reply.error().message();
  EXPECT_EQ(reply->status, 201);
  EXPECT_EQ(reply->body, "body");
  EXPECT_EQ(*reply->find("a"), "b");
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_TRUE(server.requests()[0].starts_with("POST /x HTTP/1.1\r\n"));
  EXPECT_TRUE(server.requests()[0].ends_with("\r\n\r\nask"));
}

TEST(UnixHttp, SkipsInterimReplies) {
  CannedServer server(
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
  auto reply = UnixHttp(server.path()).call({});
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->body, "ok");
}

TEST(UnixHttp, RefusesEndlessInterimReplies) {
  std::string many;
  for (int i = 0; i < 20; ++i) many += "HTTP/1.1 102 Processing\r\n\r\n";
  CannedServer server({many});
  auto reply = UnixHttp(server.path()).call({});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kCorrupt);
}

TEST(UnixHttp, BoundsTheBody) {
  CannedServer server({"HTTP/1.1 200 OK\r\n\r\n" + std::string(5000, 'x')});
  CallOptions options;
  options.body_bytes_max = 4999;
  auto reply = UnixHttp(server.path()).call({}, options);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kCorrupt);
}

TEST(UnixHttp, TellsAConnectionThatEndedEarly) {
  for (std::string text :
       {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"}) {
    CannedServer server({text});
    auto reply = UnixHttp(server.path()).call({});
    ASSERT_FALSE(reply.ok()) << text;
    EXPECT_EQ(reply.error().code(), Code::kUnavailable) << text;
  }
}

TEST(UnixHttp, TellsThatNobodyListens) {
  auto reply = UnixHttp("/nonexistent/cairn.sock").call({});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kUnavailable);
  auto too_long = UnixHttp("/" + std::string(200, 'x')).call({});
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code(), Code::kInvalid);
}

TEST(UnixHttp, GivesUpOnASilentServer) {
  CannedServer server({std::string(CannedServer::kSilence)});
  CallOptions options;
  options.total_ms = 20;
  auto reply = UnixHttp(server.path()).call({}, options);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kUnavailable);
}

// How long a busy machine takes to say the first word is not what is tested: patience grows.
TEST(UnixHttp, GivesUpOnAStreamThatFallsSilent) {
  const std::string words = "HTTP/1.1 200 OK\r\n\r\nfirst" + std::string(CannedServer::kSilence);
  CannedServer server({words, words, words, words, words, words});
  std::string seen;
  CallOptions options;
  options.total_ms = kNoTimeout;
  for (options.idle_ms = 20; seen.empty() && options.idle_ms < 60'000; options.idle_ms *= 4) {
    auto reply = UnixHttp(server.path()).stream({}, options, [&seen](std::string_view bytes) {
      seen += bytes;
      return true;
    });
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().code(), Code::kUnavailable);
  }
  EXPECT_EQ(seen, "first");
}

TEST(UnixHttp, TheSinkEndsAStreamThatHasNoEnd) {
  CannedServer server({"HTTP/1.1 200 OK\r\n\r\nfirst" + std::string(CannedServer::kSilence)});
  CallOptions options;
  options.total_ms = kNoTimeout;
  auto reply = UnixHttp(server.path()).stream({}, options, [](std::string_view) { return false; });
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->status, 200);
}

TEST(UnixHttp, AStopRequestEndsAWaitingCall) {
  CannedServer server({std::string(CannedServer::kSilence)});
  std::stop_source source;
  CallOptions options;
  options.total_ms = kNoTimeout;
  options.stop = source.get_token();
  std::jthread stopper([&] {
    server.wait_for_request();
    source.request_stop();
  });
  auto reply = UnixHttp(server.path()).call({}, options);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kCancelled);
}

TEST(UnixHttp, AStopRequestMadeBeforeEndsTheCall) {
  CannedServer server({std::string(CannedServer::kSilence)});
  std::stop_source source;
  source.request_stop();
  CallOptions options;
  options.stop = source.get_token();
  auto reply = UnixHttp(server.path()).call({}, options);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code(), Code::kCancelled);
}

TEST(UnixHttp, StreamsASuccessAndKeepsARefusal) {
  CannedServer server(
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
       "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nbad"});
  UnixHttp http(server.path());
  std::string seen;
  auto sink = [&seen](std::string_view bytes) {
    seen += bytes;
    return true;
  };
  auto streamed = http.stream({}, {}, sink);
  ASSERT_TRUE(streamed.ok());
  EXPECT_EQ(seen, "abc");
  EXPECT_EQ(streamed->body, "");
  auto refused = http.stream({}, {}, sink);
  ASSERT_TRUE(refused.ok());
  EXPECT_EQ(seen, "abc");
  EXPECT_EQ(refused->body, "bad");
}

TEST(UnixHttp, AnAnswerCountsForMoreThanABrokenPipe) {
  // The server answers and closes without reading: sending the large body fails.
  CannedServer server({"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"},
                      CannedServer::Read::kNothing);
  auto reply =
      UnixHttp(server.path())
          .call(
              {.method = "POST", .target = "/", .headers = {}, .body = std::string(8 << 20, 'x')});
  ASSERT_TRUE(reply.ok()) << reply.error().message();
  EXPECT_EQ(reply->status, 413);
}

TEST(UnixHttp, AServerThatNeitherReadsNorAnswersIsNotWaitedFor) {
  CannedServer server({std::string(CannedServer::kSilence)}, CannedServer::Read::kRefused);
  CallOptions options;
  options.total_ms = kNoTimeout;
  auto reply =
      UnixHttp(server.path())
          .call({.method = "POST", .target = "/", .headers = {}, .body = std::string(8 << 20, 'x')},
                options);
  ASSERT_FALSE(reply.ok());
  EXPECT_NE(reply.error().message().find("send"), std::string::npos) << reply.error().message();
}

TEST(UnixHttp, HandsAnUpgradedConnectionOver) {
  CannedServer server(
      {"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly"});
  auto upgraded =
      UnixHttp(server.path())
          .upgrade({.method = "POST", .target = "/attach", .headers = {}, .body = {}}, "tcp", {});
  ASSERT_TRUE(upgraded.ok()) << upgraded.error().message();
  EXPECT_TRUE(upgraded->connection.valid());
  EXPECT_EQ(upgraded->early, "early");
  EXPECT_NE(server.requests()[0].find("Upgrade: tcp\r\n"), std::string::npos);
}

TEST(UnixHttp, KeepsARefusedUpgrade) {
  CannedServer server({"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}"});
  auto upgraded = UnixHttp(server.path()).upgrade({}, "tcp", {});
  ASSERT_TRUE(upgraded.ok());
  EXPECT_FALSE(upgraded->connection.valid());
  EXPECT_EQ(upgraded->response.status, 409);
  EXPECT_EQ(upgraded->response.body, "{}");
}

}  // namespace
}  // namespace cairn::net
