#include "base/error_map.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

constexpr Code kAll[] = {Code::kInvalid,  Code::kNotFound, Code::kExists,      Code::kDenied,
                         Code::kConflict, Code::kBusy,     Code::kRefused,     Code::kUnhealthy,
                         Code::kCorrupt,  Code::kNoSpace,  Code::kUnavailable, Code::kCancelled,
                         Code::kInternal};

TEST(ErrorMap, EveryCodeIsFoundAgainByItsName) {
  for (const Code code : kAll) EXPECT_EQ(parse_code(code_name(code)), code) << code_name(code);
  EXPECT_FALSE(parse_code("no_such_code").has_value());
}

TEST(ErrorMap, StatusesAreThoseOfTheContract) {
  EXPECT_EQ(http_status(Code::kInvalid), 400);
  EXPECT_EQ(http_status(Code::kDenied), 403);
  EXPECT_EQ(http_status(Code::kNotFound), 404);
  EXPECT_EQ(http_status(Code::kBusy), 409);
  EXPECT_EQ(http_status(Code::kConflict), 409);
  EXPECT_EQ(http_status(Code::kRefused), 400);
  EXPECT_EQ(http_status(Code::kNoSpace), 507);
  EXPECT_EQ(http_status(Code::kUnhealthy), 422);
  EXPECT_EQ(http_status(Code::kUnavailable), 503);
  EXPECT_EQ(http_status(Code::kInternal), 500);
}

TEST(ErrorMap, OnlyNotFoundAndBusyHaveExitCodesOfTheirOwn) {
  for (const Code code : kAll) {
    const Exit wanted = code == Code::kNotFound ? Exit::kNotFound
                        : code == Code::kBusy   ? Exit::kBusy
                                                : Exit::kFailed;
    EXPECT_EQ(exit_of(code), wanted) << code_name(code);
  }
}

TEST(ErrorMap, StatusWithoutACodeStillMeansSomething) {
  EXPECT_EQ(code_of_status(404), Code::kNotFound);
  EXPECT_EQ(code_of_status(401), Code::kDenied);
  EXPECT_EQ(code_of_status(413), Code::kInvalid);
  EXPECT_EQ(code_of_status(299), Code::kInternal);
}

}  // namespace
}  // namespace cairn
