#include "codec/json_scan.h"

#include <gtest/gtest.h>

namespace cairn::codec {
namespace {

TEST(JsonScan, FindsAKeyThatIsThereTwice) {
  EXPECT_EQ(scan_json(R"({"a":1,"b":2,"a":3})").twice, "a");
  EXPECT_EQ(scan_json(R"([0,{"x":[{"b":1,"c":{},"b":2}]}])").twice, "b");
  EXPECT_EQ(scan_json(R"({"a":{"a":1},"b":[{"a":1},{"a":1}]})").twice, std::nullopt);
  EXPECT_EQ(scan_json(R"({"a":1,"\u0061":2})").twice, "a") << "however it is written";
  EXPECT_EQ(scan_json("").twice, std::nullopt);
  EXPECT_EQ(scan_json(R"({"a":1,}{"a")").twice, std::nullopt);
}

TEST(JsonScan, FindsWhatNestsTooDeep) {
  const auto nested = [](std::size_t lists) {
    return std::string(lists, '[') + std::string(lists, ']');
  };
  EXPECT_FALSE(scan_json(nested(kJsonDepthMax)).too_deep);
  EXPECT_TRUE(scan_json(nested(kJsonDepthMax + 1)).too_deep);
  EXPECT_FALSE(scan_json("[" + nested(kJsonDepthMax - 1) + "," + nested(1) + "]").too_deep);
  EXPECT_TRUE(scan_json(std::string(1'000'000, '[')).too_deep);
  std::string records;
  for (std::size_t i = 0; i <= kJsonDepthMax; ++i) records += R"({"a":)";
  EXPECT_TRUE(scan_json(records).too_deep);
}

}  // namespace
}  // namespace cairn::codec
