#include "volume/adopt.h"

#include <gtest/gtest.h>

#include <string>

#include "volume/declared.h"

namespace cairn::volume {
namespace {

std::vector<std::string> faults(const std::vector<AdoptMapping>& map) {
  std::vector<std::string> out;
  for (const Reason& one : check_mappings(map)) out.push_back(one.target + " " + one.code);
  return out;
}

using Faults = std::vector<std::string>;

TEST(CheckMappings, TakesDirectoriesOfOneSnapshotForSeveralVolumes) {
  EXPECT_EQ(faults({{"/srv/data", "/data"}}), Faults());
  EXPECT_EQ(faults({{"/", "/data"}, {"//srv//data/", "/more"}, {"/srv/data", "/data/in"}}),
            Faults());
}

TEST(CheckMappings, NamesEveryFieldThatIsWrong) {
  EXPECT_EQ(faults({{"/a/../b", "/one"}, {"/a", "two"}, {"rel", "/three"}, {"/a/.", "/four"}}),
            (Faults{"map[0].path invalid_path", "map[1].target invalid", "map[2].path invalid_path",
                    "map[3].path invalid_path"}));
  EXPECT_EQ(faults({{"", ""}}), (Faults{"map[0].path invalid_path", "map[0].target invalid"}));
  EXPECT_EQ(faults({{std::string("/a\0b", 4), "/"}}),
            (Faults{"map[0].path invalid_path", "map[0].target invalid"}));
}

TEST(CheckMappings, TakesEachTargetOnce) {
  EXPECT_EQ(faults({{"/a", "/data"}, {"/b", "/data"}}), Faults{"map[1].target mapped_twice"});
  EXPECT_EQ(faults({{"/a", "/data"}, {"/b", "/data/"}}), Faults{"map[1].target invalid"});
}

TEST(CheckMappings, WantsOneAndNotMoreThanThereMayBeVolumes) {
  EXPECT_EQ(faults({}), Faults{"map invalid"});
  std::vector<AdoptMapping> many;
  many.reserve(kVolumesMax + 1);
  for (std::size_t i = 0; i < kVolumesMax; ++i) many.push_back({"/a", "/v" + std::to_string(i)});
  EXPECT_EQ(faults(many), Faults());
  many.push_back({"/a", "/one-more"});
  EXPECT_EQ(faults(many), Faults{"map invalid"});
}

}  // namespace
}  // namespace cairn::volume
