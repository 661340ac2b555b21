// The fake keeps the rules that higher floors' tests rely on.
#include "docker/fake_engine.h"

#include <gtest/gtest.h>

namespace cairn::docker {
namespace {

class FakeEngineTest : public testing::Test {
 protected:
  FakeEngineTest() { engine_.add_image({.id = "sha256:1"}, {"app:v1"}); }

  std::string create(const std::string& name, const std::string& policy = "no") {
    ContainerSpec spec;
    spec.name = name;
    spec.image = "app:v1";
    spec.restart_policy = policy;
    spec.mounts = {{.kind = Mount::Kind::kVolume, .source = "data", .target = "/data"}};
    auto id = engine_.create_container(spec);
    EXPECT_TRUE(id.ok());
    return id.value_or("");
  }
  Container get(const std::string& id) { return get_container(engine_, id).value_or(Container{}); }

  FakeEngine engine_;
};

TEST_F(FakeEngineTest, ContainersGoThroughTheirStates) {
  std::string id = create("web");
  EXPECT_EQ(get("web").state, State::kCreated);
  EXPECT_TRUE(engine_.start("web").ok());
  EXPECT_TRUE(engine_.start("web").ok());
  EXPECT_GT(get(id).pid, 0);
  EXPECT_TRUE(engine_.pause("web").ok());
  EXPECT_TRUE(get(id).running);
  EXPECT_EQ(engine_.pause("web").error().code(), Code::kConflict);
  EXPECT_TRUE(engine_.unpause("web").ok());
  EXPECT_EQ(engine_.remove("web", {}).error().code(), Code::kConflict);
  EXPECT_TRUE(engine_.stop("web", 5).ok());
  EXPECT_EQ(get(id).state, State::kExited);
  EXPECT_EQ(engine_.wait("web", {}).value(), 0);
  EXPECT_TRUE(engine_.remove("web", {}).ok());
  EXPECT_FALSE(engine_.find_container(id).value().has_value());
  EXPECT_EQ(engine_.calls(),
            (std::vector<std::string>{"create_container web", "start web", "start web", "pause web",
                                      "pause web", "unpause web", "remove web", "stop web 5",
                                      "remove web"}));
}

TEST_F(FakeEngineTest, FailsTheCallThatATestNames) {
  create("web");
  engine_.fail("start", 2, Error(Code::kInternal, "boom"));
  EXPECT_TRUE(engine_.start("web").ok());
  EXPECT_TRUE(engine_.stop("web", 1).ok());
  EXPECT_EQ(engine_.start("web").error().message(), "boom");
  EXPECT_FALSE(get("web").running);
  engine_.fail("start", 1, Error(Code::kUnavailable, "cut off"), FakeEngine::When::kAfter);
  EXPECT_FALSE(engine_.start("web").ok());
  EXPECT_TRUE(get("web").running);
  engine_.set_down(true);
  EXPECT_EQ(engine_.ping().error().code(), Code::kUnavailable);
  engine_.set_down(false);
  EXPECT_TRUE(engine_.ping().ok());
}

TEST_F(FakeEngineTest, ARestartOfTheEngineKeepsToThePolicies) {
  create("no");
  create("unless", "unless-stopped");
  create("stopped", "unless-stopped");
  for (const char* name : {"no", "unless", "stopped"}) EXPECT_TRUE(engine_.start(name).ok());
  EXPECT_TRUE(engine_.stop("stopped", 1).ok());
  engine_.restart_engine();
  EXPECT_FALSE(get("no").running);
  EXPECT_TRUE(get("unless").running);
  EXPECT_FALSE(get("stopped").running);
}

TEST_F(FakeEngineTest, AVolumeInUseStays) {
  create("web");
  ASSERT_TRUE(engine_.find_volume("data").value().has_value());
  EXPECT_EQ(engine_.remove_volume("data").error().code(), Code::kConflict);
  EXPECT_EQ(engine_.list_containers({.labels = {}, .volume = "data"})->size(), 1U);
  EXPECT_TRUE(engine_.remove("web", {}).ok());
  EXPECT_TRUE(engine_.remove_volume("data").ok());
}

TEST_F(FakeEngineTest, PullsWhatARegistryHas) {
  NoProgress nobody;
  engine_.add_remote_image({.id = "sha256:2", .repo_digests = {"app@sha256:d"}}, "app", "v2");
  EXPECT_EQ(engine_.distribution_digest("app:v2", {}).value(), "sha256:d");
  EXPECT_FALSE(engine_.find_image("app:v2").value().has_value());
  EXPECT_TRUE(engine_.pull_image("app", "v2", {}, nobody, {}).ok());
  EXPECT_EQ(engine_.find_image("app@sha256:d").value()->id, "sha256:2");
  EXPECT_EQ(engine_.pull_image("app", "v3", {}, nobody, {}).error().code(), Code::kNotFound);
}

TEST_F(FakeEngineTest, TheLogsTailIsInLines) {
  create("web");
  engine_.set_log({"one", "two", "three"});
  EXPECT_EQ(log_tail(engine_, "web", 2).value(), (std::vector<std::string>{"two", "three"}));
}

}  // namespace
}  // namespace cairn::docker
