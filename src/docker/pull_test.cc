#include "docker/pull.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace cairn::docker {
namespace {

class LastCount final : public Progress {
 public:
  void phase(std::string_view) override {}
  void count(const Count& count) override { last = count; }
  void warn(std::string_view) override {}
  Count last;
};

Status read(std::string_view text, Progress& progress) {
  PullReader reader(progress);
  for (char c : text) TRY(reader.feed({&c, 1}));
  return reader.end();
}

Error failure_of(std::string_view text) {
  NoProgress nobody;
  Status status = read(text, nobody);
  return status.ok() ? Error(Code::kInternal, "it did not fail") : status.error();
}

TEST(PullReader, CountsWhatIsDownloaded) {
  LastCount progress;
  Status status =
      read(R"({"status":"Pulling from app","id":"v1"})"
           "\r\n"
           R"({"status":"Downloading","progressDetail":{"current":50,"total":100},"id":"aa"})"
           "\r\n"
           R"({"status":"Downloading","progressDetail":{"current":10,"total":40},"id":"bb"})"
           "\r\n"
           R"({"status":"Download complete","progressDetail":{},"id":"bb"})"
           "\r\n"
           R"({"status":"Extracting","progressDetail":{"current":1,"total":100},"id":"aa"})"
           "\r\n"
           R"({"status":"Digest: sha256:0"})",
           progress);
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(progress.last.bytes_done, 90U);
  EXPECT_EQ(progress.last.bytes_total, 140U);
  EXPECT_EQ(progress.last.items_done, 1U);
  EXPECT_EQ(progress.last.items_total, 2U);
}

TEST(PullReader, AFailureInsideTheStreamFails) {
  EXPECT_EQ(
      failure_of(R"({"status":"Pulling"})"
                 "\n"
                 R"({"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"})")
          .code(),
      Code::kNotFound);
  EXPECT_EQ(failure_of(R"({"errorDetail":{"message":"unauthorized: no"}})").code(), Code::kDenied);
  EXPECT_EQ(failure_of(R"({"error":"read tcp: connection reset by peer"})").code(),
            Code::kUnavailable);
  EXPECT_EQ(failure_of(R"({"error":"write /x: no space left on device"})").code(), Code::kNoSpace);
  EXPECT_NE(failure_of(R"({"error":"words of its own"})").message().find("words of its own"),
            std::string::npos);
}

TEST(PullReader, RefusesWhatIsNoProgress) {
  EXPECT_EQ(failure_of("nonsense\n").code(), Code::kCorrupt);
  EXPECT_EQ(failure_of("[1]\n").code(), Code::kCorrupt);
  EXPECT_EQ(failure_of(R"({"status":1})").code(), Code::kCorrupt);
  EXPECT_EQ(failure_of(R"({"status":"Downloading","progressDetail":{"current":"x"}})").code(),
            Code::kCorrupt);
  EXPECT_EQ(failure_of(std::string(kPullLineBytesMax + 1, 'x')).code(), Code::kCorrupt);
}

TEST(FormatAuth, IsJsonInTheUrlAlphabet) {
  std::string encoded = format_auth({.username = "me",
                                     .password = "\xc3\xbf\xc3\xbf~~~?>?>~",
                                     .identity_token = {},
                                     .server_address = "r.example"});
  EXPECT_EQ(encoded.find_first_of("+/"), std::string::npos);
  EXPECT_NE(encoded.find_first_of("-_"), std::string::npos);
  EXPECT_EQ(encoded.size() % 4, 0U);
  for (char& c : encoded) c = c == '-' ? '+' : c == '_' ? '/' : c;
  auto bytes = parse_base64(encoded);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(nlohmann::json::parse(as_text(*bytes)),
            (nlohmann::json{{"username", "me"},
                            {"password", "\xc3\xbf\xc3\xbf~~~?>?>~"},
                            {"serveraddress", "r.example"}}));
}

TEST(FormatAuth, ATokenTakesThePlaceOfAPassword) {
  auto bytes = parse_base64(format_auth(
      {.username = "me", .password = "secret", .identity_token = "t", .server_address = {}}));
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(as_text(*bytes), R"({"identitytoken":"t"})");
}

}  // namespace
}  // namespace cairn::docker
