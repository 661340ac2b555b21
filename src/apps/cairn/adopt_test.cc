#include <gtest/gtest.h>

#include <string>

#include "apps/cairn/cli.h"

namespace cairn::cli {
namespace {

TEST(ParseMapping, SplitsAtTheLastEqualsSignBeforeASlash) {
  EXPECT_EQ(parse_mapping("/srv/data=/data"), (Mapping{"/srv/data", "/data"}));
  EXPECT_EQ(parse_mapping("/=/data"), (Mapping{"/", "/data"}));
  EXPECT_EQ(parse_mapping("/a=b/c=d=/data"), (Mapping{"/a=b/c=d", "/data"}));
  EXPECT_EQ(parse_mapping("/a=/b=/c"), (Mapping{"/a=/b", "/c"}));
  EXPECT_EQ(parse_mapping("/a=/k=v"), (Mapping{"/a", "/k=v"}));
  // What is wrong with either half the daemon says.
  EXPECT_EQ(parse_mapping("../a=/b/"), (Mapping{"../a", "/b/"}));
}

TEST(ParseMapping, RefusesWhatHasNotTwoHalves) {
  for (const std::string text : {"", "=", "=/", "=/data", "/data", "/srv=", "/srv=data", "a:/b"}) {
    EXPECT_FALSE(parse_mapping(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace cairn::cli
