#include "api/http.h"

#include <gtest/gtest.h>

#include "api/decode.h"
#include "api/limits.h"
#include "api/router.h"

namespace cairn::api {
namespace {

TEST(ParseTarget, DecodesPathAndQuery) {
  Request request;
  ASSERT_TRUE(parse_target("/api/workloads/web%2D1?tail=5&follow&x=a%20b", request).ok());
  EXPECT_EQ(request.path, "/api/workloads/web-1");
  EXPECT_EQ(request.query.at("tail"), "5");
  EXPECT_EQ(request.query.at("follow"), "");
  EXPECT_EQ(request.query.at("x"), "a b");
}

TEST(ParseTarget, RefusesWhatCouldBeReadTwoWays) {
  Request request;
  for (const char* target : {"", "relative", "http://host/api", "/a%2fb", "/a%2Fb", "/a%00b",
                             "/a%zz", "/a%4", "/a%", "/%ff%fe", "/a?x=1&x=2", "/a?x=%f"}) {
    EXPECT_EQ(parse_target(target, request).error().code(), Code::kInvalid) << target;
  }
}

TEST(ParseTarget, KeepsItsBounds) {
  Request request;
  EXPECT_FALSE(parse_target("/" + std::string(kTargetBytesMax, 'a'), request).ok());
  std::string many = "/a?";
  for (std::size_t i = 0; i <= kQueryPartsMax; ++i) many += "k" + std::to_string(i) + "=1&";
  EXPECT_FALSE(parse_target(many, request).ok());
}

TEST(Request, FlagsAndNumbersAreStrict) {
  Request request;
  ASSERT_TRUE(parse_target("/a?on&one=1&no=0&odd=maybe&n=17&neg=-1&big=99", request).ok());
  EXPECT_TRUE(*request.flag("on"));
  EXPECT_TRUE(*request.flag("one"));
  EXPECT_FALSE(*request.flag("no"));
  EXPECT_FALSE(*request.flag("missing"));
  EXPECT_FALSE(request.flag("odd").ok());
  EXPECT_EQ(*request.number("n", 1, 50), 17U);
  EXPECT_EQ(*request.number("missing", 9, 50), 9U);
  EXPECT_FALSE(request.number("neg", 1, 50).ok());
  EXPECT_FALSE(request.number("big", 1, 50).ok());
}

TEST(Headers, AreFoundInAnyCase) {
  Headers headers;
  headers.add("X-Confirm-Restore", "snap_1");
  headers.add("x-confirm-restore", "snap_2");
  EXPECT_EQ(headers.get("x-confirm-restore"), "snap_1");
  EXPECT_TRUE(headers.has("x-confirm-restore"));
  EXPECT_FALSE(headers.has("x-other"));
}

TEST(Match, BindsPartsAndNothingElse) {
  std::map<std::string, std::string> params;
  EXPECT_TRUE(
      match("/api/workloads/{id}/snapshots/{sid}", "/api/workloads/web/snapshots/s1", params));
  EXPECT_EQ(params.at("id"), "web");
  EXPECT_EQ(params.at("sid"), "s1");
  EXPECT_FALSE(match("/api/workloads/{id}", "/api/workloads/", params));
  EXPECT_FALSE(match("/api/workloads/{id}", "/api/workloads/web/x", params));
  EXPECT_FALSE(match("/api/workloads", "/api/workloads/", params));
  EXPECT_FALSE(match("/api/workloads", "/api//workloads", params));
}

TEST(Body, NamesEveryFaultAtOnce) {
  auto body = Body::parse(R"({"tag": 5, "force": "yes", "surprise": 1, "list": ["a", 2]})");
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(body->text("tag", "fallback"), "fallback");
  EXPECT_FALSE(body->flag("force"));
  EXPECT_TRUE(body->list("list", 5).empty());
  body->require("needed");
  const Status status = body->finish();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), Code::kInvalid);
  std::vector<std::string> fields;
  for (const Reason& reason : status.error().detail().reasons) fields.push_back(reason.target);
  EXPECT_EQ(fields, (std::vector<std::string>{"tag", "force", "list", "needed", "surprise"}));
}

TEST(Body, ReadsRecordsOfTextsAndNothingElse) {
  auto good = Body::parse(R"({"map": [{"a": "1", "b": "2"}, {"b": "", "a": ""}]})");
  const auto records = good->records("map", {"a", "b"}, 2);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].at("b"), "2");
  EXPECT_TRUE(good->finish().ok());

  auto bad = Body::parse(R"({"map": [{"a": "1", "b": 2}, 3, {"a": "x", "b": "y", "c": "z"}, {}]})");
  EXPECT_EQ(bad->records("map", {"a", "b"}, 9).size(), 4U);
  const Status status = bad->finish();
  std::vector<std::string> fields;
  for (const Reason& reason : status.error().detail().reasons) fields.push_back(reason.target);
  EXPECT_EQ(fields,
            (std::vector<std::string>{"map[0].b", "map[1]", "map[2].c", "map[3].a", "map[3].b"}));

  for (const char* text : {R"({"map": {}})", R"({"map": "x"})", R"({"map": [{}, {}]})"}) {
    auto body = Body::parse(text);
    EXPECT_TRUE(body->records("map", {"a"}, 1).empty()) << text;
    EXPECT_FALSE(body->finish().ok()) << text;
  }
}

TEST(Body, EmptyIsAnObjectAndOtherThingsAreNot) {
  EXPECT_TRUE(Body::parse("")->finish().ok());
  EXPECT_TRUE(Body::parse(" \n")->finish().ok());
  for (const char* text : {"[]", "1", "{", "{\"a\":1}x", "null", "\xff"}) {
    EXPECT_FALSE(Body::parse(text).ok()) << text;
  }
  // Deep nesting must not take the stack.
  EXPECT_EQ(Body::parse(std::string(kBodyBytesMax, '[')).error().message(),
            "the body nests deeper than 32 levels");
  EXPECT_EQ(Body::parse(R"({"tag": "1", "force": true, "tag": "2"})").error().message(),
            "the body has the key tag twice in one object");
}

TEST(Preferences, AreTokensOfAList) {
  Request request;
  EXPECT_FALSE(prefers_async(request));
  request.headers.add("Prefer", "wait=5, respond-async");
  request.headers.add("Accept", "text/event-stream;q=0.9, application/json");
  EXPECT_TRUE(prefers_async(request));
  EXPECT_TRUE(accepts_events(request));
}

}  // namespace
}  // namespace cairn::api
