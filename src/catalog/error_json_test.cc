#include "catalog/error_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace cairn::catalog {
namespace {

TEST(ErrorJson, KeepsTheWholeError) {
  ErrorDetail detail;
  detail.reasons = {{.target = "/data", .code = "pending_config", .detail = "deploy first"},
                    {.target = "", .code = "no_image", .detail = "no local image"}};
  detail.holder = "op_1";
  detail.probe = "GET / answered 500";
  detail.log_tail = {"line 1", "line \"2\""};
  detail.data = "old";
  detail.operation = "op_2";
  const Error error(Code::kRefused, "restore web: refused", detail);
  const Error back = error_from_json(error_to_json(error).dump());
  EXPECT_EQ(back.code(), Code::kRefused);
  EXPECT_EQ(back.message(), error.message());
  EXPECT_EQ(back.detail().reasons, detail.reasons);
  EXPECT_EQ(back.detail().holder, "op_1");
  EXPECT_EQ(back.detail().probe, detail.probe);
  EXPECT_EQ(back.detail().log_tail, detail.log_tail);
  EXPECT_EQ(back.detail().data, "old");
  EXPECT_EQ(back.detail().operation, "op_2");
}

TEST(ErrorJson, LeavesOutWhatIsEmpty) {
  const nlohmann::json record = error_to_json(Error(Code::kNotFound, "no such thing"));
  EXPECT_EQ(record.size(), 2U);
  EXPECT_EQ(record["code"], "not_found");
}

TEST(ErrorJson, KnowsEveryCode) {
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    const auto code = static_cast<Code>(i);
    EXPECT_EQ(error_from_json(error_to_json(Error(code, "why")).dump()).code(), code);
  }
  const Error newer = error_from_json(R"({"code":"from_the_future","message":"why"})");
  EXPECT_EQ(newer.code(), Code::kInternal);
  EXPECT_EQ(newer.message(), "why");
}

TEST(ErrorJson, TakesBytesThatAreNotText) {
  ErrorDetail detail;
  detail.log_tail = {std::string("bad \xff byte")};
  const std::string text = error_to_json(Error(Code::kUnhealthy, "x\xfe", detail)).dump();
  const Error back = error_from_json(text);
  EXPECT_EQ(back.code(), Code::kUnhealthy);
  ASSERT_EQ(back.detail().log_tail.size(), 1U);
  EXPECT_EQ(back.detail().log_tail.front(), "bad \\xff byte");
}

TEST(ErrorJson, ReadsDamagedTextAsAnError) {
  for (const char* text : {"", "{", "[]", "7", R"({"code":5,"reasons":3,"log_tail":"x"})"}) {
    EXPECT_EQ(error_from_json(text).code(), Code::kInternal) << text;
  }
}

}  // namespace
}  // namespace cairn::catalog
