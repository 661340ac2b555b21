#include "volume/declared.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::volume {
namespace {

std::vector<Reason> faults_of(const nlohmann::json& array) {
  std::vector<Reason> faults;
  (void)parse_volumes(array, "config.volumes", faults);
  return faults;
}

TEST(DeclaredVolumes, GoodOnesAreKept) {
  std::vector<Reason> faults;
  const auto volumes =
      parse_volumes(nlohmann::json::parse(R"([{"target":"/data","scope":"stage","source":"db/main"},
                                {"target":"/tmp/x","scope":"ephemeral"},
                                {"target":"/abs","scope":"absolute","source":"/srv/a"}])"),
                    "v", faults);
  EXPECT_TRUE(faults.empty());
  ASSERT_EQ(volumes.size(), 3U);
  EXPECT_EQ(volumes[0].source, "db/main");
  EXPECT_EQ(volumes[2].scope, Scope::kAbsolute);
}

TEST(DeclaredVolumes, EveryFaultIsNamedByField) {
  const auto faults = faults_of(nlohmann::json::parse(
      R"([{"target":"data","scope":"stage","source":"x","extra":1},
          {"target":"a/","scope":"moon"},
          {"target":"/b","scope":"project","source":"../../etc"},
          {"target":"/b","scope":"absolute","source":"relative"},
          {"target":"/c","scope":"stage","source":""}])"));
  std::vector<std::string> fields;
  for (const Reason& fault : faults) fields.push_back(fault.target);
  EXPECT_EQ(fields,
            (std::vector<std::string>{"config.volumes[0].extra", "config.volumes[0].target",
                                      "config.volumes[1].scope", "config.volumes[1].target",
                                      "config.volumes[2].source", "config.volumes[3].source",
                                      "config.volumes[3].target", "config.volumes[4].source"}));
}

TEST(DeclaredVolumes, StagingNamesCannotHideInASource) {
  EXPECT_FALSE(
      faults_of(nlohmann::json::parse(R"([{"target":"/a","scope":"stage","source":".cairn/x"}])"))
          .empty());
}

TEST(DeclaredVolumes, PersistedRowsWinByTarget) {
  const auto merged =
      merge_volumes({{"/b", Scope::kStage, "one", ""}, {"/a", Scope::kStage, "x", ""}},
                    {{"/b", Scope::kProject, "two", ""}});
  ASSERT_EQ(merged.size(), 2U);
  EXPECT_EQ(merged[0].target, "/a");
  EXPECT_EQ(merged[1].source, "two");
}

}  // namespace
}  // namespace cairn::volume
