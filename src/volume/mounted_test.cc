#include "volume/mounted.h"

#include <gtest/gtest.h>

namespace cairn::volume {
namespace {

using os::MountEntry;

MountEntry mount(std::string root,
                 std::string point,
                 bool read_only = false,
                 std::uint32_t minor = 1) {
  MountEntry out;
  out.device_major = 8;
  out.device_minor = minor;
  out.root = std::move(root);
  out.mount_point = std::move(point);
  out.read_only = read_only;
  return out;
}

std::vector<MountUse> uses(const std::vector<MountEntry>& host,
                           const std::vector<MountEntry>& other) {
  const auto seen =
      find_sightings({{1, 1, "init", host}, {2, 77, "app", other}}, host, 1, "/srv/data");
  EXPECT_TRUE(seen.ok());
  std::vector<MountUse> out;
  for (const Sighting& sighting : *seen) {
    if (!sighting.same_path) out.push_back(sighting.use);
  }
  return out;
}

TEST(Sightings, TheHostsOwnViewDoesNotCount) {
  const std::vector<MountEntry> host{mount("/", "/")};
  EXPECT_TRUE(uses(host, host).empty());
  // A service with a private view that shows the host's own paths.
  EXPECT_TRUE(uses(host, {mount("/", "/", true), mount("/srv", "/srv")}).empty());
}

TEST(Sightings, AContainerThatBindsTheParentAtTheSamePathIsReported) {
  const std::vector<MountEntry> host{mount("/", "/")};
  const auto seen = find_sightings({{2, 77, "app", {mount("/srv", "/srv")}}}, host, 1, "/srv/data");
  ASSERT_TRUE(seen.ok());
  ASSERT_EQ(seen->size(), 1U);
  EXPECT_TRUE((*seen)[0].same_path);
  EXPECT_EQ((*seen)[0].use, MountUse::kParentWrites);
}

TEST(Sightings, AVolumeMountAtTheHostsOwnPathStillCounts) {
  EXPECT_EQ(uses({mount("/", "/")}, {mount("/srv/data", "/srv/data")}),
            std::vector{MountUse::kVolume});
}

TEST(Sightings, AMountOfTheVolumeOrInsideItCounts) {
  const std::vector<MountEntry> host{mount("/", "/")};
  EXPECT_EQ(uses(host, {mount("/srv/data", "/data")}), std::vector{MountUse::kVolume});
  EXPECT_EQ(uses(host, {mount("/srv/data/deep", "/x", true)}), std::vector{MountUse::kVolume});
  EXPECT_TRUE(uses(host, {mount("/srv/data2", "/x")}).empty());
  EXPECT_TRUE(uses(host, {mount("/srv/data", "/x", false, 9)}).empty());
}

TEST(Sightings, AParentCountsWhereItShowsTheVolumeElsewhere) {
  const std::vector<MountEntry> host{mount("/", "/")};
  EXPECT_EQ(uses(host, {mount("/srv", "/backup")}), std::vector{MountUse::kParentWrites});
  EXPECT_EQ(uses(host, {mount("/", "/rootfs", true)}), std::vector{MountUse::kParentReads});
}

TEST(Sightings, MountsOnAndBeneathTheRootAreNamed) {
  EXPECT_EQ(uses({mount("/", "/"), mount("/", "/srv/data", false, 5)}, {}),
            std::vector{MountUse::kRootIsMount});
  EXPECT_EQ(uses({mount("/", "/"), mount("/", "/srv/data/sub", false, 5)}, {}),
            std::vector{MountUse::kBeneath});
}

// As a service with private mounts has it: all of the host's, copied.
TEST(Sightings, TheHostsOwnViewOfAMountedRootDoesNotCount) {
  const std::vector<MountEntry> host{mount("/", "/"), mount("/", "/srv/data", false, 5)};
  EXPECT_EQ(uses(host, host), std::vector{MountUse::kRootIsMount});
  EXPECT_EQ(uses(host, {mount("/", "/", false, 5)}),
            (std::vector{MountUse::kRootIsMount, MountUse::kVolume}));
  EXPECT_EQ(uses(host, {mount("/", "/data", false, 5)}),
            (std::vector{MountUse::kRootIsMount, MountUse::kVolume}));
  const std::vector<MountEntry> bound{mount("/", "/"), mount("/old", "/srv/data", false, 5)};
  EXPECT_EQ(uses(bound, bound), std::vector{MountUse::kRootIsMount});
  EXPECT_EQ(uses(bound, {mount("/", "/old", false, 5)}),
            (std::vector{MountUse::kRootIsMount, MountUse::kParentWrites}));
}

TEST(Sightings, ABindMountOnTheHostCounts) {
  EXPECT_EQ(uses({mount("/", "/"), mount("/srv/data", "/export")}, {}),
            std::vector{MountUse::kVolume});
}

}  // namespace
}  // namespace cairn::volume
