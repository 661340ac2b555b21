// Registries with a login: what a workload may name, and what a pull from it does.
#include "workload/registry.h"

#include "workload/test_bench.h"

namespace cairn::workload {
namespace {

constexpr const char* kPassword = "correct-horse";
constexpr const char* kHost = "hub.example.com:5000";

class Registries : public TestBench {
 protected:
  static catalog::Registry hub(std::string password = kPassword) {
    return {.name = "hub", .url = kHost, .user = "robot", .password = std::move(password)};
  }
  void SetUp() override {
    TestBench::SetUp();
    docker::Image image;
    image.id = kImageTwo;
    image.repo_digests = {std::string(kHost) + "/team/app@sha256:" + std::string(64, '7')};
    engine.add_remote_image(image, std::string(kHost) + "/team/app", "v1");
    engine.require_login(kHost, {.username = "robot", .password = kPassword});
  }
  Status apply_with(const std::string& image, const std::string& registry = "hub") {
    const auto applied =
        workloads->apply(R"({"name":"web","kind":"image","config":{"image":")" + image +
                             R"(","default_tag":"v1","registry_name":")" + registry + R"("}})",
                         TextFormat::kJson, "uid:0");
    return applied.ok() ? Status() : Status(applied.error());
  }
  static std::string reason_of(const Error& error) {
    const auto& reasons = error.detail().reasons;
    return reasons.size() == 1 ? reasons[0].target + " " + reasons[0].code : "";
  }
};

TEST_F(Registries, AreCheckedByField) {
  catalog::Registry wrong{
      .name = "No Name", .url = "https://hub.example.com", .user = "", .password = "two\nlines"};
  const auto set = workloads->set_registry(wrong);
  ASSERT_FALSE(set.ok());
  EXPECT_EQ(set.error().code(), Code::kInvalid);
  ASSERT_EQ(set.error().detail().reasons.size(), 4U);
  for (const Reason& reason : set.error().detail().reasons) {
    EXPECT_EQ(reason.detail.find("two"), std::string::npos) << reason.target;
  }
  EXPECT_TRUE(workloads->list_registries().value().empty());
}

TEST_F(Registries, MustBeKnownWhereAWorkloadNamesThem) {
  const Status applied = apply_with("team/app");
  ASSERT_FALSE(applied.ok());
  EXPECT_EQ(applied.error().code(), Code::kInvalid);
  EXPECT_EQ(reason_of(applied.error()), "config.registry_name unknown");
  EXPECT_TRUE(workloads->list().value().empty());
}

TEST_F(Registries, RefuseAnImageOfAnotherHost) {
  ASSERT_TRUE(workloads->set_registry(hub()).ok());
  const Status applied = apply_with("ghcr.io/team/app");
  ASSERT_FALSE(applied.ok());
  EXPECT_EQ(reason_of(applied.error()), "config.image wrong_registry");
  EXPECT_TRUE(apply_with(std::string(kHost) + "/team/app").ok());

  // The registry has moved since: the deploy refuses, and says so.
  catalog::Registry moved = hub();
  moved.url = "elsewhere.example.com";
  ASSERT_TRUE(workloads->set_registry(moved).ok());
  const auto deployed = deploy();
  ASSERT_FALSE(deployed.ok());
  EXPECT_EQ(deployed.error().code(), Code::kRefused);
  EXPECT_EQ(reason_of(deployed.error()), "config.image wrong_registry");
}

TEST_F(Registries, GiveTheirHostAndTheirLoginToAPull) {
  ASSERT_TRUE(workloads->set_registry(hub()).ok());
  ASSERT_TRUE(apply_with("team/app").ok());
  const auto deployed = deploy();
  ASSERT_TRUE(deployed.ok()) << deployed.error().message();
  EXPECT_EQ(deployed->release.image, std::string(kHost) + "/team/app");
  EXPECT_EQ(deployed->release.digest, "sha256:" + std::string(64, '7'));
  EXPECT_TRUE(deploy()->unchanged);
}

TEST_F(Registries, NameThemselvesAndTheUserWhereALoginFails) {
  ASSERT_TRUE(workloads->set_registry(hub("wrong-horse")).ok());
  ASSERT_TRUE(apply_with("team/app").ok());
  const auto refused = deploy();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kRefused);
  EXPECT_EQ(reason_of(refused.error()), "config.registry_name login_refused");
  for (const char* word : {"registry hub", kHost, "user robot"}) {
    EXPECT_NE(refused.error().message().find(word), std::string::npos) << word;
  }
  EXPECT_EQ(refused.error().message().find("wrong-horse"), std::string::npos);
  EXPECT_TRUE(containers().empty());

  // The right one counts from the next pull on.
  ASSERT_TRUE(workloads->set_registry(hub()).ok());
  EXPECT_TRUE(deploy().ok());
}

TEST_F(Registries, ArePulledFromWithoutALoginWhereNoneIsNamed) {
  ASSERT_TRUE(apply_with(std::string(kHost) + "/team/app", "").ok());
  const auto refused = deploy();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(reason_of(refused.error()), "config.registry_name login_refused");
}

TEST_F(Registries, StayWhileAWorkloadNamesThem) {
  ASSERT_TRUE(workloads->set_registry(hub()).ok());
  ASSERT_TRUE(apply_with("team/app").ok());
  const auto listed = workloads->list_registries();
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1U);
  EXPECT_EQ(listed->front().workloads, std::vector<std::string>{"web"});
  EXPECT_EQ(listed->front().row.password, "");

  const Status kept = workloads->remove_registry("hub");
  ASSERT_FALSE(kept.ok());
  EXPECT_EQ(kept.error().code(), Code::kConflict);
  EXPECT_NE(kept.error().message().find("web"), std::string::npos);
  apply();
  EXPECT_TRUE(workloads->remove_registry("hub").ok());
  EXPECT_EQ(workloads->remove_registry("hub").error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace cairn::workload
