// Deploys against the engine in memory: what is made, in which order, and what a failure leaves.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "workload/containers.h"
#include "workload/test_bench.h"

namespace cairn::workload {
namespace {

using docker::FakeEngine;

class Deploy : public TestBench {
 protected:
  std::vector<std::string> calls_of(std::string_view verb) {
    std::vector<std::string> found;
    for (const std::string& call : engine.calls()) {
      if (call.starts_with(verb)) found.push_back(call);
    }
    return found;
  }
  std::size_t position_of(std::string_view start) {
    const auto calls = engine.calls();
    const auto found = std::find_if(calls.begin(), calls.end(), [start](const std::string& call) {
      return call.starts_with(start);
    });
    EXPECT_NE(found, calls.end()) << start;
    return static_cast<std::size_t>(found - calls.begin());
  }
  // The new container exits at once, and again whenever it is started.
  void break_image(std::string_view image_id) {
    engine.on_start([id = std::string(image_id)](docker::Container& container) {
      if (container.image_id != id) return;
      container.running = false;
      container.state = docker::State::kExited;
      container.exit_code = 3;
    });
  }
};

constexpr const char* kData = R"("volumes":[{"target":"/data","scope":"stage","source":"data"}])";

TEST_F(Deploy, MakesOneContainerAsTheDesignSays) {
  const std::string id = apply(
      R"("env":{"A":"b"},"memory_limit":64,"cpu_limit":0.5,"shm_size":1,"stop_timeout":7,"user":"u",
         "command":["c"],"volumes":[{"target":"/data","scope":"stage","source":"data"},
         {"target":"/tmp","scope":"ephemeral"}])");
  const auto deployed = deploy();
  ASSERT_TRUE(deployed.ok()) << deployed.error().message();
  EXPECT_FALSE(deployed->unchanged);
  EXPECT_EQ(deployed->release.tag, "v1");
  EXPECT_EQ(release_identity(deployed->release), kImageOne);
  EXPECT_EQ(deployed->release.state, catalog::ReleaseState::kRunning);

  const auto all = containers();
  ASSERT_EQ(all.size(), 1U);
  const auto spec = engine.spec_of(all[0].id).value();
  EXPECT_TRUE(spec.name.starts_with("cairn-web-" + id.substr(id.size() - 8) + "-v1-"));
  EXPECT_EQ(spec.image, kImageOne);
  EXPECT_EQ(spec.restart_policy, "unless-stopped");
  EXPECT_EQ(spec.aliases, std::vector<std::string>{"web"});
  EXPECT_EQ(spec.network, "cairn");
  EXPECT_EQ(spec.env, std::vector<std::string>{"A=b"});
  EXPECT_EQ(spec.nano_cpus, 500'000'000);
  EXPECT_EQ(spec.memory_bytes, 64 << 20);
  EXPECT_EQ(spec.stop_timeout_s, 7);
  EXPECT_EQ(spec.labels.at("cairn.workload.id"), id);
  EXPECT_EQ(spec.labels.at("cairn.workload.name"), "web");
  EXPECT_EQ(spec.labels.at("cairn.kind"), "image");
  EXPECT_EQ(spec.labels.at("cairn.role"), "instance");
  EXPECT_EQ(spec.labels.at("cairn.release"), deployed->release.id);
  EXPECT_EQ(spec.labels.at("cairn.instance"), spec.name);
  ASSERT_EQ(spec.mounts.size(), 2U);
  EXPECT_EQ(spec.mounts[0].source, dir_ + "/volumes/" + id + "/data");
  EXPECT_TRUE(std::filesystem::is_directory(spec.mounts[0].source));
  EXPECT_EQ(spec.mounts[1].kind, docker::Mount::Kind::kTmpfs);
  EXPECT_EQ(workloads->show("web")->state, "running");
  expect_clean();
}

TEST_F(Deploy, IsUnchangedOnlyWhereNothingChangedAndItRuns) {
  apply();
  ASSERT_TRUE(deploy().ok());
  EXPECT_TRUE(deploy()->unchanged);
  EXPECT_EQ(containers().size(), 1U);
  EXPECT_FALSE(deploy("", true)->unchanged);  // forced
  EXPECT_FALSE(deploy("v2")->unchanged);      // another image
  apply(R"("env":{"A":"1"})");
  EXPECT_FALSE(deploy("v2")->unchanged);  // env
  EXPECT_TRUE(deploy("v2")->unchanged);
  apply(R"("env":{"A":"1"},"user":"nobody")");
  EXPECT_FALSE(deploy("v2")->unchanged);  // config
  const volume::DeclaredVolume scratch{"/s", volume::Scope::kEphemeral, "", ""};
  ASSERT_TRUE(workloads->set_volume("web", scratch, "uid:0").ok());
  EXPECT_FALSE(deploy("v2")->unchanged);  // volumes
  const auto faces = workloads->apply(
      R"({"name":"web","public_faces":[{"subdomain":"w"}],
          "config":{"image":"app","default_tag":"v1","env":{"A":"1"},"user":"nobody"}})",
      TextFormat::kJson, "uid:0");
  ASSERT_TRUE(faces.ok());
  EXPECT_FALSE(deploy("v2")->unchanged);  // faces
  EXPECT_TRUE(deploy("v2")->unchanged);
  ASSERT_TRUE(engine.stop(containers().at(0).id, {}).ok());
  EXPECT_FALSE(deploy("v2")->unchanged);  // it does not run
  EXPECT_EQ(containers().size(), 1U);
  expect_clean();
}

TEST_F(Deploy, SameTagMovedToAnotherImageIsAChange) {
  apply();
  ASSERT_TRUE(deploy().ok());
  add_local("app", "v1", kImageTwo);
  const auto moved = deploy();
  ASSERT_TRUE(moved.ok());
  EXPECT_FALSE(moved->unchanged);
  EXPECT_EQ(moved->release.image_id, kImageTwo);
}

TEST_F(Deploy, OverlapKeepsTheOldOneUntilTheNewOneIsHealthy) {
  apply();
  ASSERT_TRUE(deploy().ok());
  const std::string old_name = containers().at(0).name;
  engine.clear_calls();
  const auto deployed = deploy("v2");
  ASSERT_TRUE(deployed.ok());
  EXPECT_EQ(deployed->hold_ms, 0);
  EXPECT_LT(position_of("start cairn-web"), position_of("stop " + old_name));
  EXPECT_TRUE(calls_of("set_restart_policy").empty());
  ASSERT_EQ(containers().size(), 1U);
  EXPECT_EQ(containers()[0].image_id, kImageTwo);
  expect_clean();
}

TEST_F(Deploy, StopFirstStopsTheOldOneBeforeTheNewOneStarts) {
  apply(kData);
  ASSERT_TRUE(deploy().ok());
  const std::string old_name = containers().at(0).name;
  engine.clear_calls();
  ASSERT_TRUE(deploy("v2").ok());
  const auto policy = position_of("set_restart_policy " + old_name + " no");
  EXPECT_LT(position_of("create_container"), policy);
  EXPECT_LT(policy, position_of("stop " + old_name));
  EXPECT_LT(position_of("stop " + old_name), position_of("start cairn-web"));
  EXPECT_LT(position_of("start cairn-web"), position_of("remove " + old_name));
  expect_clean();
}

TEST_F(Deploy, KeepsAsManyInstancesAsAsked) {
  apply(R"("max_instances":2)");
  ASSERT_TRUE(deploy().ok());
  ASSERT_TRUE(deploy("v2").ok());
  EXPECT_EQ(containers().size(), 2U);
  ASSERT_TRUE(deploy("v1").ok());
  EXPECT_EQ(containers().size(), 2U);
  expect_clean();
}

TEST_F(Deploy, UnhealthyOneLeavesTheOldOneAlone) {
  apply();
  ASSERT_TRUE(deploy().ok());
  const docker::Container old = containers().at(0);
  break_image(kImageTwo);
  engine.set_log({"first", "cannot open the door"});
  const auto failed = deploy("v2");
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code(), Code::kUnhealthy);
  EXPECT_NE(failed.error().detail().probe.find("code 3"), std::string::npos);
  EXPECT_EQ(failed.error().detail().log_tail.at(1), "cannot open the door");
  ASSERT_EQ(containers().size(), 1U);
  EXPECT_EQ(containers()[0].started_ms, old.started_ms) << "it was never restarted";
  expect_clean();
}

TEST_F(Deploy, UnhealthyStopFirstBringsTheOldOneBack) {
  apply(kData);
  ASSERT_TRUE(deploy().ok());
  const std::string old_id = containers().at(0).id;
  ASSERT_TRUE(engine.set_restart_policy(old_id, "on-failure", 4).ok());
  break_image(kImageTwo);
  const auto failed = deploy("v2");
  ASSERT_FALSE(failed.ok());
  ASSERT_EQ(containers().size(), 1U);
  EXPECT_EQ(containers()[0].id, old_id);
  EXPECT_TRUE(containers()[0].running);
  EXPECT_EQ(containers()[0].restart_policy, "on-failure");
  EXPECT_EQ(containers()[0].restart_retries_max, 4);
  const auto releases = catalog->releases().list(workloads->show("web")->row.id);
  EXPECT_EQ(releases->at(0).state, catalog::ReleaseState::kFailed);
  EXPECT_EQ(releases->at(1).state, catalog::ReleaseState::kRunning);
  expect_clean();
}

TEST_F(Deploy, FailedFirstOneLeavesNothing) {
  apply(kData);
  break_image(kImageOne);
  ASSERT_FALSE(deploy().ok());
  EXPECT_TRUE(containers().empty());
  EXPECT_EQ(workloads->show("web")->row.desired, catalog::Desired::kStopped);
  EXPECT_EQ(workloads->show("web")->state, "not_deployed");
  expect_clean();
}

TEST_F(Deploy, CancelledDuringHealthGoesBack) {
  apply(kData);
  ASSERT_TRUE(deploy().ok());
  const std::string old_id = containers().at(0).id;
  TestOperation operation;
  operation.cancel_at = "health";
  DeployOptions options;
  options.tag = "v2";
  const auto cancelled = workloads->deploy("web", options, operation);
  ASSERT_FALSE(cancelled.ok());
  EXPECT_EQ(cancelled.error().code(), Code::kCancelled);
  ASSERT_EQ(containers().size(), 1U);
  EXPECT_EQ(containers()[0].id, old_id);
  expect_clean();
}

TEST_F(Deploy, RefusesVolumesThatDoNotResolveAndNamesEach) {
  apply(R"("volumes":[{"target":"/a","scope":"absolute","source":"/srv/elsewhere"},
                      {"target":"/b","scope":"absolute","source":"/srv/other"},
                      {"target":"/c","scope":"stage","source":"c"}])");
  const auto refused = deploy();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kRefused);
  const auto& reasons = refused.error().detail().reasons;
  ASSERT_EQ(reasons.size(), 2U);
  EXPECT_EQ(reasons[0].target, "/a");
  EXPECT_EQ(reasons[1].target, "/b");
  EXPECT_TRUE(engine.calls().empty());
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/volumes/" + workloads->show("web")->row.id));
}

TEST_F(Deploy, PersistedVolumeWinsOverTheInlineOne) {
  apply(kData);
  std::filesystem::create_directory(dir_ + "/allowed/db");
  const volume::DeclaredVolume moved{"/data", volume::Scope::kAbsolute, dir_ + "/allowed/db", ""};
  ASSERT_TRUE(workloads->set_volume("web", moved, "uid:0").ok());
  ASSERT_TRUE(deploy().ok());
  const auto spec = engine.spec_of(containers().at(0).id).value();
  ASSERT_EQ(spec.mounts.size(), 1U);
  EXPECT_EQ(spec.mounts[0].source, dir_ + "/allowed/db");
  const auto views = workloads->list_volumes("web");
  ASSERT_TRUE(views.ok());
  EXPECT_TRUE(views->at(0).persisted);
  EXPECT_TRUE(views->at(0).overrides);
  ASSERT_TRUE(workloads->unset_volume("web", "/data", "uid:0").ok());
  EXPECT_EQ(workloads->unset_volume("web", "/data", "uid:0").error().code(), Code::kNotFound);
  EXPECT_FALSE(workloads->list_volumes("web")->at(0).persisted);
}

TEST_F(Deploy, PullPolicyDecidesWhatIsAsked) {
  docker::Image remote;
  remote.id = kImageTwo;
  remote.repo_digests = {"app@sha256:" + std::string(64, 'd')};
  engine.add_remote_image(remote, "app", "v3");

  apply(R"("pull":"never")");
  const auto never = deploy("v3");
  ASSERT_FALSE(never.ok());
  EXPECT_EQ(never.error().code(), Code::kRefused);
  EXPECT_EQ(never.error().detail().reasons.at(0).code, "image_missing");
  EXPECT_TRUE(calls_of("pull_image").empty());

  apply();
  const auto missing = deploy("v3");
  ASSERT_TRUE(missing.ok()) << missing.error().message();
  EXPECT_EQ(missing->release.digest, "sha256:" + std::string(64, 'd'));
  EXPECT_EQ(engine.spec_of(containers().at(0).id)->image, remote.repo_digests[0]);
  EXPECT_EQ(calls_of("pull_image").size(), 1U);
  ASSERT_TRUE(deploy("v3").ok());
  EXPECT_EQ(calls_of("pull_image").size(), 1U);

  apply(R"("pull":"always")");
  ASSERT_TRUE(deploy("v3").ok());
  EXPECT_EQ(calls_of("pull_image").size(), 2U);
  const auto gone = deploy("v9");
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code(), Code::kRefused);
  EXPECT_EQ(deploy("no tag!").error().code(), Code::kInvalid);
  expect_clean();
}

TEST_F(Deploy, NeverTouchesAContainerThatOnlyHasTheName) {
  apply();
  ASSERT_TRUE(deploy().ok());
  const docker::Container old = containers().at(0);
  ASSERT_TRUE(engine
                  .edit(old.id,
                        [](docker::Container& container) {
                          container.labels["cairn.workload.id"] = "wl_somebody_else";
                        })
                  .ok());
  const auto deployed = deploy("v2");
  ASSERT_TRUE(deployed.ok()) << deployed.error().message();
  EXPECT_FALSE(deployed->warnings.empty());
  EXPECT_TRUE(engine.find_container(old.id).value().has_value());
  EXPECT_TRUE(engine.find_container(old.id).value()->running);
}

TEST_F(Deploy, IsRefusedWhileTheLockIsHeld) {
  const std::string id = apply();
  const auto held = locks->try_lock({"workload:" + id}, "op_restore");
  ASSERT_TRUE(held.ok());
  const auto busy = deploy();
  ASSERT_FALSE(busy.ok());
  EXPECT_EQ(busy.error().code(), Code::kBusy);
  EXPECT_EQ(busy.error().detail().holder, "op_restore");
  EXPECT_TRUE(engine.calls().empty());
}

TEST_F(Deploy, ImageHealthCheckIsTheDefaultWhereThereIsOne) {
  docker::Image image;
  image.id = kImageOne;
  image.has_healthcheck = true;
  engine.add_image(image, {"app:v1"});
  engine.on_start([](docker::Container& container) {
    container.health = docker::Health::kUnhealthy;
    container.health_log = {{1, "no answer"}};
  });
  apply();
  const auto failed = deploy();
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().detail().probe.find("no answer"), std::string::npos);
  engine.on_start(
      [](docker::Container& container) { container.health = docker::Health::kHealthy; });
  EXPECT_TRUE(deploy().ok());
  apply(R"("healthcheck":"image")");
  EXPECT_TRUE(deploy().ok());
  const auto none = deploy("v2");
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().detail().reasons.at(0).target, "config.healthcheck");
}

TEST_F(Deploy, ExecHealthCheckSaysWhatItSaw) {
  apply(R"("healthcheck":"exec:pg_isready")");
  engine.on_exec([](const docker::Container&, const std::vector<std::string>& argv) {
    EXPECT_EQ(argv, (std::vector<std::string>{"/bin/sh", "-c", "pg_isready"}));
    docker::ExecResult result;
    result.exit_code = 2;
    result.output = "no response\n";
    return result;
  });
  const auto failed = deploy();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().detail().probe, "exec: exit code 2: no response");
  engine.on_exec([](const auto&, const auto&) { return docker::ExecResult{}; });
  EXPECT_TRUE(deploy().ok());
}

TEST_F(Deploy, SecretsAreShownNowhere) {
  apply(R"("env":{"PASSWORD":"TOPSECRET"})");
  ASSERT_TRUE(deploy().ok());
  const auto view = workloads->show("web");
  EXPECT_EQ(view->config_json.find("TOPSECRET"), std::string::npos);
  EXPECT_NE(view->config_json.find("***"), std::string::npos);
  EXPECT_TRUE(view->row.env.empty());
  EXPECT_TRUE(view->release->env.empty());
  const auto events = catalog->events().list(0, "", 100);
  for (const auto& event : *events) EXPECT_EQ(event.message.find("TOPSECRET"), std::string::npos);

  // What show printed can be applied again.
  const std::string again = R"({"name":"web","kind":"image","config":)" + view->config_json + "}";
  const auto applied = workloads->apply(again, TextFormat::kJson, "uid:0");
  ASSERT_TRUE(applied.ok()) << applied.error().message();
  EXPECT_FALSE(applied->changed);
  EXPECT_TRUE(deploy()->unchanged);
}

}  // namespace
}  // namespace cairn::workload
