// EngineClient against canned replies: versions, the meaning of refusals, hostile replies.
#include "docker/client.h"

#include <gtest/gtest.h>

#include "net/canned_server.h"

namespace cairn::docker {
namespace {

using net::CannedServer;

std::string reply(int status, const std::string& body, const std::string& fields = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string pong(const std::string& version = "1.41") {
  return reply(200, "OK", "Api-Version: " + version + "\r\n");
}

// The code of a start that the engine answers so.
Code code_of(const std::string& answer) {
  CannedServer server({pong(), answer});
  Status status = EngineClient(server.path()).start("web");
  EXPECT_FALSE(status.ok());
  return status.ok() ? Code::kInternal : status.error().code();
}

TEST(EngineClient, SpeaksTheNegotiatedVersion) {
  CannedServer server({pong("1.41"), reply(204, ""), reply(204, "")});
  EngineClient client(server.path());
  ASSERT_TRUE(client.start("web").ok());
  ASSERT_TRUE(client.stop("web", 3).ok());
  auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_TRUE(requests[0].starts_with("GET /_ping "));
  EXPECT_TRUE(requests[1].starts_with("POST /v1.41/containers/web/start "));
  EXPECT_TRUE(requests[2].starts_with("POST /v1.41/containers/web/stop?t=3 "));
}

TEST(EngineClient, NeverAsksForMoreThanItKnows) {
  CannedServer server({pong("1.99"), reply(204, "")});
  ASSERT_TRUE(EngineClient(server.path()).start("web").ok());
  EXPECT_TRUE(server.requests()[1].starts_with("POST /v1.51/"));
}

TEST(EngineClient, RefusesAnEngineThatIsTooOldOrNone) {
  for (const std::string& answer : {pong("1.39"), pong("2.0"), pong("x"), reply(200, "OK")}) {
    CannedServer server({answer});
    EXPECT_FALSE(EngineClient(server.path()).start("web").ok());
  }
}

TEST(EngineClient, NegotiatesAgainAfterTheEngineWentAway) {
  CannedServer server({pong("1.41"), "", pong("1.44"), reply(204, "")});
  EngineClient client(server.path());
  Status first = client.start("web");
  ASSERT_FALSE(first.ok());
  EXPECT_EQ(first.error().code(), Code::kUnavailable);
  ASSERT_TRUE(client.start("web").ok());
  EXPECT_TRUE(server.requests()[3].starts_with("POST /v1.44/"));
}

TEST(EngineClient, ToldTwiceIsFine) {
  CannedServer server({pong(), reply(304, "")});
  EXPECT_TRUE(EngineClient(server.path()).start("web").ok());
}

TEST(EngineClient, KnowsAStartThatWillAlwaysFail) {
  const auto started = [](const std::string& answer) {
    CannedServer server({pong(), answer});
    return EngineClient(server.path()).start("web").error();
  };
  EXPECT_TRUE(can_never_start(started(reply(409, R"({"message":"task 6230: already exists"})"))));
  EXPECT_TRUE(can_never_start(started(reply(500, R"({"message":"task 6230: already exists"})"))));
  EXPECT_TRUE(can_never_start(started(reply(500, R"({"message":"failed to start shim: )"
                                                 R"(mkdir /run/io.containerd.runtime.v2.task/moby/)"
                                                 R"(6230: file exists: unknown"})"))));
  EXPECT_FALSE(can_never_start(started(reply(500, R"({"message":"no space left on device"})"))));
  EXPECT_FALSE(can_never_start(started(reply(500, R"({"message":"mkdir /a: file exists"})"))));
}

TEST(EngineClient, KnowsAPauseThatMaySucceedLater) {
  const auto paused = [](const std::string& answer) {
    CannedServer server({pong(), answer});
    return EngineClient(server.path()).pause("web").error();
  };
  EXPECT_TRUE(cannot_freeze_yet(paused(reply(
      500,
      R"({"message":"Cannot pause container 1: OCI runtime pause failed: unable to freeze"})"))));
  EXPECT_TRUE(cannot_freeze_yet(paused(reply(
      500, R"({"message":"timeout of 10s reached waiting for the cgroup to freeze: unknown"})"))));
  EXPECT_FALSE(
      cannot_freeze_yet(paused(reply(409, R"({"message":"Container 1 is not running"})"))));
}

TEST(EngineClient, TellsRefusalsApart) {
  const std::string message = R"({"message":"words of the engine"})";
  EXPECT_EQ(code_of(reply(400, message)), Code::kInvalid);
  EXPECT_EQ(code_of(reply(403, message)), Code::kDenied);
  EXPECT_EQ(code_of(reply(404, message)), Code::kNotFound);
  EXPECT_EQ(code_of(reply(409, message)), Code::kConflict);
  EXPECT_EQ(code_of(reply(500, message)), Code::kInternal);
  EXPECT_EQ(code_of(reply(503, message)), Code::kUnavailable);
  EXPECT_EQ(code_of(reply(500, R"({"message":"Container abc is not paused"})")), Code::kConflict);
  EXPECT_EQ(code_of(reply(500, R"({"message":"transport is closing: unavailable"})")),
            Code::kUnavailable);
  EXPECT_EQ(code_of(reply(500, R"({"message":"mkdir: no space left on device"})")), Code::kNoSpace);
  EXPECT_EQ(code_of(reply(500, "not json at all")), Code::kInternal);
  EXPECT_EQ(code_of("garbage\r\n\r\n"), Code::kCorrupt);

  CannedServer server({pong(), reply(409, message)});
  Status status = EngineClient(server.path()).pause("web");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message(), "pause web: engine: words of the engine");
}

TEST(EngineClient, WordsOfTheEngineHaveShortIds) {
  const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  const auto words = [](const std::string& message) {
    CannedServer server({pong(), reply(409, R"({"message":")" + message + R"("})")});
    return EngineClient(server.path()).pause("web").error().message();
  };
  const std::string before = "pause web: engine: ";
  EXPECT_EQ(words("container " + id + " is paused"), before + "container 0123456789ab is paused");
  EXPECT_EQ(words(id), before + "0123456789ab");
  for (const std::string& kept : {"in use by " + id + "0", "no sha256:" + id,
                                  "mkdir /o/" + id + "/m", "dead beef " + id.substr(1) + " face"}) {
    EXPECT_EQ(words(kept), before + kept);
  }
  CannedServer server({pong(), reply(409, R"({"message":"words"})")});
  EXPECT_EQ(EngineClient(server.path()).start(id).error().message(),
            "start 0123456789ab: engine: words");
}

TEST(EngineClient, NothingButANameGetsIntoAPath) {
  EngineClient client("/nonexistent/engine.sock");
  for (const char* name : {"", "a/b", "..", "../info", "a?b", "a%2fb", "a b", "a\r\nX: y", "-a"}) {
    EXPECT_EQ(client.start(name).error().code(), Code::kInvalid) << name;
    EXPECT_EQ(client.find_container(name).error().code(), Code::kInvalid) << name;
    EXPECT_EQ(client.find_volume(name).error().code(), Code::kInvalid) << name;
    EXPECT_EQ(client.ensure_network(name).error().code(), Code::kInvalid) << name;
  }
  EXPECT_EQ(client.find_image("../x").error().code(), Code::kInvalid);
}

TEST(EngineClient, AnotherContainerIsNotTheOneAskedFor) {
  const std::string body = R"({"Id":"abcdef","Name":"/other","State":{"Status":"exited"}})";
  CannedServer server({pong(), reply(200, body), reply(200, body), reply(200, body)});
  EngineClient client(server.path());
  auto by_part = client.find_container("abc");
  ASSERT_TRUE(by_part.ok());
  EXPECT_FALSE(by_part->has_value());
  EXPECT_TRUE(client.find_container("abcdef").value().has_value());
  EXPECT_TRUE(client.find_container("other").value().has_value());
}

TEST(EngineClient, HostileRepliesAreErrors) {
  for (const std::string& body : {std::string("[]"), std::string("null"), std::string("{"),
                                  std::string(R"({"Id":1})"), std::string(100'000, '[')}) {
    CannedServer server({pong(), reply(200, body)});
    auto found = EngineClient(server.path()).find_container("web");
    ASSERT_FALSE(found.ok()) << body.substr(0, 20);
    EXPECT_EQ(found.error().code(), Code::kCorrupt);
  }
}

TEST(EngineClient, APullNeedsAVersion) {
  EngineClient client("/nonexistent/engine.sock");
  NoProgress nobody;
  EXPECT_EQ(client.pull_image("app", "", {}, nobody, {}).error().code(), Code::kInvalid);
  EXPECT_EQ(client.pull_image("app", "a b", {}, nobody, {}).error().code(), Code::kInvalid);
  EXPECT_EQ(client.pull_image("app:v1", "v1", {}, nobody, {}).error().code(), Code::kInvalid);
}

TEST(EngineClient, APullThatIsCutOffFails) {
  CannedServer server({pong(),
                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "16\r\n{\"status\":\"Pulling\"}\r\n\r\n"});
  NoProgress nobody;
  Status pulled = EngineClient(server.path()).pull_image("app", "v1", {}, nobody, {});
  ASSERT_FALSE(pulled.ok());
  EXPECT_EQ(pulled.error().code(), Code::kUnavailable);
}

TEST(EngineClient, ParsesAddresses) {
  EXPECT_EQ(EngineClient::parse_address("unix:///run/docker.sock").value(), "/run/docker.sock");
  EXPECT_EQ(EngineClient::parse_address("/run/docker.sock").value(), "/run/docker.sock");
  EXPECT_FALSE(EngineClient::parse_address("tcp://host:2375").ok());
  EXPECT_FALSE(EngineClient::parse_address("").ok());
}

}  // namespace
}  // namespace cairn::docker
