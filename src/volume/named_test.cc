// What Cairn makes of the engine's volumes, by driver and options.
#include "volume/named.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "docker/fake_engine.h"

namespace cairn::volume {
namespace {

class NamedVolumes : public testing::Test {
 protected:
  void add(const std::string& driver, const std::map<std::string, std::string>& options) {
    docker::Volume there;
    there.name = "store";
    there.driver = driver;
    there.mountpoint = "/engine/volumes/store/_data";
    there.options = options;
    engine.add_volume(there);
  }
  ResolvedVolume located() {
    ResolvedVolume volume;
    volume.kind = ResolvedVolume::Kind::kVolume;
    volume.target = "/data";
    volume.scope = Scope::kNamed;
    volume.source = volume.name = "store";
    const Status status = locate_volume(engine, volume);
    EXPECT_TRUE(status.ok()) << status.error().message();
    return volume;
  }
  static std::string obstacle(const ResolvedVolume& volume) {
    return volume.obstacle ? volume.obstacle->code : "";
  }

  docker::FakeEngine engine;
};

TEST_F(NamedVolumes, OfTheLocalDriverLieWhereTheEngineSays) {
  add("local", {});
  const ResolvedVolume volume = located();
  EXPECT_EQ(volume.path(), "/engine/volumes/store/_data");
  EXPECT_EQ(volume.place(), "store");
  EXPECT_EQ(volume.relative, "_data") << "staged trees lie beside it";
  EXPECT_EQ(volume.engine_mount, "");
  EXPECT_EQ(obstacle(volume), "");
}

TEST_F(NamedVolumes, BoundToADirectoryAreThatDirectory) {
  add("local", {{"type", "none"}, {"o", "bind"}, {"device", "/srv/data/store"}});
  const ResolvedVolume volume = located();
  EXPECT_EQ(volume.path(), "/srv/data/store");
  EXPECT_EQ(volume.place(), "store");
  EXPECT_EQ(volume.engine_mount, "/engine/volumes/store/_data");
}

TEST_F(NamedVolumes, WithOtherOptionsHaveAnObstacleThatRepeatsNoSecret) {
  const std::vector<std::map<std::string, std::string>> others = {
      {{"type", "cifs"}, {"o", "password=hunter2"}, {"device", "//host/hunter2"}},
      {{"type", "tmpfs"}, {"device", "tmpfs"}},
      {{"type", "none"}, {"o", "bind,ro"}, {"device", "/srv/store"}},
      {{"type", "none"}, {"o", "bind"}, {"device", "../srv"}},
      {{"type", "none"}, {"o", "bind"}, {"device", "/srv/../etc"}},
      {{"type", "none"}, {"o", "bind"}, {"device", "/"}},
      {{"size", "1g"}}};
  for (const auto& options : others) {
    add("local", options);
    const ResolvedVolume volume = located();
    EXPECT_EQ(obstacle(volume), "unsupported_driver") << options.begin()->second;
    EXPECT_EQ(volume.path(), "");
    ASSERT_TRUE(volume.obstacle.has_value());
    EXPECT_EQ(volume.obstacle->detail.find("hunter2"), std::string::npos);
  }
}

TEST_F(NamedVolumes, OfAnotherDriverHaveAnObstacle) {
  add("rexray", {});
  const ResolvedVolume volume = located();
  EXPECT_EQ(obstacle(volume), "unsupported_driver");
  const auto place = open_place(volume);
  ASSERT_FALSE(place.ok());
  EXPECT_EQ(skip_code(place.error()), "unsupported_driver");
}

TEST_F(NamedVolumes, ThatAreNotThereYetHaveNoPath) {
  const ResolvedVolume volume = located();
  EXPECT_EQ(volume.path(), "");
  EXPECT_EQ(obstacle(volume), "");
  EXPECT_EQ(open_place(volume).error().code(), Code::kNotFound);
}

TEST_F(NamedVolumes, CannotBeLookedAtWhileTheEngineIsDown) {
  add("local", {});
  engine.set_down(true);
  const ResolvedVolume volume = located();
  EXPECT_EQ(obstacle(volume), "unresolved");
  EXPECT_EQ(volume.place(), "store");
}

TEST_F(NamedVolumes, AreLockedByNameWhetherTheEngineAnswersOrNot) {
  add("local", {});
  const auto holds_name = [](const ResolvedVolume& volume) {
    const auto keys = lock_keys("wl_1", {volume});
    return std::find(keys.begin(), keys.end(), "volume:engine:store") != keys.end();
  };
  EXPECT_TRUE(holds_name(located()));
  engine.set_down(true);
  EXPECT_TRUE(holds_name(located()));
}

}  // namespace
}  // namespace cairn::volume
