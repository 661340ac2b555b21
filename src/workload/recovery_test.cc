// Crashes and outages: every engine call of every action fails before or after its effect, or the
// daemon is killed there; then it starts again and the workload is in its old or its new state.
#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <thread>
#include <tuple>

#include "workload/test_bench.h"

namespace cairn::workload {
namespace {

class Recover : public TestBench {
 protected:
  void await_recovered() {
    // The thread tells by the pending list; it is asked, not timed.
    while (!workloads->recovering().empty()) std::this_thread::yield();
  }
  bool has_event(std::string_view kind) {
    const auto events = catalog->events().list(0, "", 1000);
    EXPECT_TRUE(events.ok());
    return std::any_of(events->begin(), events->end(),
                       [kind](const catalog::Event& event) { return event.kind == kind; });
  }

  std::atomic<int> calls_{0};         // of the engine
  std::atomic<int> locked_calls_{0};  // of them while the workload was locked as recovering
};

constexpr const char* kWithData =
    R"("volumes":[{"target":"/data","scope":"stage","source":"data"}])";

// What is cut off, on a workload "web" whose first release runs (or, for start, is stopped).
struct Action {
  const char* name;
  const char* config;
  std::function<bool(Workloads&)> stage;  // before the engine may go away
  std::function<bool(Workloads&)> run;    // true: it says it is done
};

bool do_deploy(Workloads& workloads) {
  TestOperation operation;
  DeployOptions options;
  options.tag = "v2";
  return workloads.deploy("web", options, operation).ok();
}
bool do_stop(Workloads& workloads) {
  TestOperation operation;
  return workloads.stop("web", OnBusy::kRefuse, operation).ok();
}
bool do_start(Workloads& workloads) {
  TestOperation operation;
  return workloads.start("web", OnBusy::kRefuse, operation).ok();
}
bool do_remove(Workloads& workloads) {
  TestOperation operation;
  return workloads.remove("web", OnBusy::kRefuse, "uid:0", operation).ok();
}
bool do_nothing(Workloads&) {
  return true;
}

const std::array kActions{Action{"overlap", "", do_nothing, do_deploy},
                          Action{"stop_first", kWithData, do_nothing, do_deploy},
                          Action{"stop", kWithData, do_nothing, do_stop},
                          Action{"start", kWithData, do_stop, do_start},
                          Action{"remove", kWithData, do_nothing, do_remove}};

class CutOff : public Recover,
               public testing::WithParamInterface<std::tuple<std::size_t, CutEngine::When>> {
 protected:
  // One round: the engine goes away at the n-th call. False where the action ended before that.
  bool round(const Action& action, CutEngine::When when, int n) {
    apply(action.config);
    EXPECT_TRUE(deploy().ok());
    old_id = containers().at(0).id;
    EXPECT_TRUE(action.stage(*workloads));
    cut.cut_at(n, when);
    action.run(*workloads);
    const bool reached = cut.is_away();
    // The daemon dies too, and the engine comes back first.
    workloads.reset();
    engine.restart_engine();
    cut.mend();
    restart();
    EXPECT_TRUE(workloads->recover().ok());
    await_recovered();
    return reached;
  }
  std::string old_id;
};

TEST_P(CutOff, EndsInTheOldOrTheNewState) {
  const Action& action = kActions.at(std::get<0>(GetParam()));
  for (int n = 1; round(action, std::get<1>(GetParam()), n); ++n) {
    SCOPED_TRACE(std::string(action.name) + ", cut at call " + std::to_string(n));
    expect_clean();
    const auto view = workloads->show("web");
    const auto all = containers();
    if (!view.ok()) {
      EXPECT_EQ(std::string(action.name), "remove");
      EXPECT_TRUE(all.empty());
    } else {
      ASSERT_EQ(all.size(), 1U);
      EXPECT_TRUE(all[0].id == old_id || all[0].image_id == kImageTwo);
      EXPECT_EQ(all[0].restart_policy, "unless-stopped");
      EXPECT_EQ(all[0].running, view->row.desired == catalog::Desired::kRunning);
      EXPECT_TRUE(view->state == "running" || view->state == "stopped");
      EXPECT_TRUE(do_deploy(*workloads)) << "it works on";
      EXPECT_TRUE(do_remove(*workloads));
    }
    EXPECT_TRUE(containers().empty());
    ASSERT_LT(n, 200);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryCall,
                         CutOff,
                         testing::Combine(testing::Range(std::size_t{0}, kActions.size()),
                                          testing::Values(CutEngine::When::kBefore,
                                                          CutEngine::When::kAfter)));

// The same with the daemon alive: its own thread finishes when the engine is back.
TEST_P(CutOff, IsFinishedByTheDaemonWhenTheEngineIsBack) {
  const Action& action = kActions.at(std::get<0>(GetParam()));
  for (int n = 1;; n += 3) {
    SCOPED_TRACE(std::string(action.name) + ", cut at call " + std::to_string(n));
    apply(action.config);
    ASSERT_TRUE(deploy().ok());
    ASSERT_TRUE(action.stage(*workloads));
    cut.cut_at(n, std::get<1>(GetParam()));
    action.run(*workloads);
    const bool reached = cut.is_away();
    cut.mend();
    await_recovered();
    expect_clean();
    if (workloads->show("web").ok()) {
      EXPECT_TRUE(do_remove(*workloads));
    }
    EXPECT_TRUE(containers().empty());
    if (!reached) return;
    ASSERT_LT(n, 200);
  }
}

TEST_F(Recover, DeployCutByAnOutageIsLockedAndTakenBackWhenTheEngineIsThere) {
  const std::string id = apply(kWithData);
  ASSERT_TRUE(deploy().ok());
  const std::string old_id = containers().at(0).id;
  TestOperation operation;
  DeployOptions options;
  options.tag = "v2";
  operation.on_phase = [this](std::string_view phase) {
    if (phase == "start") cut.cut_at(1, CutEngine::When::kAfter);
  };
  const auto failed = workloads->deploy("web", options, operation);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code(), Code::kUnavailable);
  EXPECT_EQ(workloads->recovering(), std::vector<std::string>{id});
  EXPECT_EQ(locks->holder("workload:" + id), "recovering");
  EXPECT_EQ(workloads->show("web")->state, "recovering");
  EXPECT_EQ(deploy("v2").error().detail().holder, "recovering");

  cut.mend();
  await_recovered();
  EXPECT_EQ(locks->holder("workload:" + id), "");
  EXPECT_EQ(containers().at(0).id, old_id);
  EXPECT_TRUE(containers().at(0).running);
  EXPECT_TRUE(has_event("workload.recovered"));
  expect_clean();
}

// The engine may have done by itself what is left to do: who asked is told all the same.
TEST_F(Recover, AStopThatWaitedForTheEngineIsTold) {
  const std::string id = apply(kWithData);
  ASSERT_TRUE(deploy().ok());
  TestOperation operation;
  operation.on_phase = [this](std::string_view phase) {
    if (phase == "stop") cut.cut_at(1, CutEngine::When::kAfter);
  };
  const auto stopped = workloads->stop("web", OnBusy::kRefuse, operation);
  ASSERT_FALSE(stopped.ok());
  EXPECT_NE(stopped.error().message().find("goes on"), std::string::npos);
  EXPECT_EQ(workloads->show("web")->row.desired, catalog::Desired::kStopped);
  const std::string container = containers().at(0).id;
  ASSERT_TRUE(engine.set_restart_policy(container, "no", 0).ok());
  ASSERT_TRUE(engine.stop(container, {}).ok());
  cut.mend();
  await_recovered();
  EXPECT_TRUE(has_event("workload.recovered"));
  EXPECT_EQ(workloads->show("web")->state, "stopped");
  expect_clean();
}

TEST_F(Recover, StartsWithTheEngineDownAndFinishesLater) {
  const std::string id = apply(kWithData);
  ASSERT_TRUE(deploy().ok());
  TestOperation operation;
  operation.on_phase = [this](std::string_view phase) {
    if (phase == "remove") cut.cut_at(3, CutEngine::When::kBefore);
  };
  const auto removed = workloads->remove("web", OnBusy::kRefuse, "uid:0", operation);
  ASSERT_FALSE(removed.ok());
  restart();
  ASSERT_TRUE(workloads->recover().ok());
  EXPECT_EQ(locks->holder("workload:" + id), "recovering");
  EXPECT_EQ(workloads->list()->at(0).state, "recovering");
  EXPECT_EQ(workloads->apply(definition(), TextFormat::kJson, "uid:0").error().code(),
            Code::kConflict);
  cut.mend();
  await_recovered();
  EXPECT_EQ(workloads->show("web").error().code(), Code::kNotFound);
  EXPECT_TRUE(containers().empty());
}

TEST_F(Recover, WhatNeedsNoRecoveryIsNotLockedWhileTheEngineIsDown) {
  const std::string id = apply();
  ASSERT_TRUE(deploy().ok());
  engine.set_down(true);
  restart();
  cut.on_call([this, id] {
    ++calls_;
    if (locks->holder("workload:" + id) == "recovering") ++locked_calls_;
  });
  ASSERT_TRUE(workloads->recover().ok());
  // From here on it is served, whatever the thread tries meanwhile.
  locked_calls_ = 0;
  for (const int seen = calls_; calls_ < seen + 5;) std::this_thread::yield();
  EXPECT_EQ(locked_calls_, 0);
  EXPECT_EQ(locks->holder("workload:" + id), "");
  EXPECT_EQ(workloads->list()->at(0).state, "unknown");
  EXPECT_EQ(deploy("v2").error().code(), Code::kUnavailable);
  engine.set_down(false);
  await_recovered();
  expect_clean();
}

TEST_F(Recover, DesiredStateIsBroughtBackAtStart) {
  apply();
  ASSERT_TRUE(deploy().ok());
  const std::string id = containers().at(0).id;
  ASSERT_TRUE(engine.set_restart_policy(id, "no", 0).ok());
  ASSERT_TRUE(engine.stop(id, {}).ok());
  restart();
  ASSERT_TRUE(workloads->recover().ok());
  EXPECT_TRUE(containers().at(0).running);
  EXPECT_EQ(containers().at(0).restart_policy, "unless-stopped");

  TestOperation operation;
  ASSERT_TRUE(workloads->stop("web", OnBusy::kRefuse, operation).ok());
  EXPECT_FALSE(containers().at(0).running);
  ASSERT_TRUE(engine.start(id).ok());
  restart();
  ASSERT_TRUE(workloads->recover().ok());
  EXPECT_FALSE(containers().at(0).running);
  EXPECT_EQ(workloads->show("web")->state, "stopped");
  expect_clean();
}

TEST_F(Recover, MakesAContainerThatIsGoneFromTheReleasesOwnImage) {
  apply();
  ASSERT_TRUE(deploy().ok());
  const std::string old_name = containers().at(0).name;
  ASSERT_TRUE(engine.remove(containers().at(0).id, {.force = true}).ok());
  add_local("app", "v1", kImageTwo);  // the tag moved meanwhile
  restart();
  ASSERT_TRUE(workloads->recover().ok());
  ASSERT_EQ(containers().size(), 1U);
  EXPECT_TRUE(containers()[0].running);
  EXPECT_EQ(containers()[0].image_id, kImageOne);
  EXPECT_NE(containers()[0].name, old_name);
  const auto calls = engine.calls();
  EXPECT_TRUE(std::none_of(calls.begin(), calls.end(),
                           [](const std::string& call) { return call.starts_with("pull_image"); }));
  expect_clean();
}

TEST_F(Recover, LeavesAWorkloadAloneThatSomebodyElseRecovers) {
  const std::string id = apply();
  ASSERT_TRUE(deploy().ok());
  ASSERT_TRUE(engine.stop(containers().at(0).id, {}).ok());
  restart();
  auto guard = locks->try_lock({"workload:" + id}, "recovering");
  ASSERT_TRUE(guard.ok());
  ASSERT_TRUE(workloads->recover().ok());
  EXPECT_FALSE(containers().at(0).running) << "a restore may have its volumes half exchanged";
  guard->release();
  await_recovered();
  EXPECT_TRUE(containers().at(0).running);
}

TEST_F(Recover, StopStartAndRemoveDoWhatTheySay) {
  apply(kWithData);
  TestOperation operation;
  EXPECT_EQ(workloads->start("web", OnBusy::kRefuse, operation).error().code(), Code::kConflict);
  ASSERT_TRUE(deploy().ok());
  const std::string id = containers().at(0).id;
  const std::string place = engine.spec_of(id)->mounts.at(0).source;
  ASSERT_TRUE(workloads->stop("web", OnBusy::kRefuse, operation).ok());
  ASSERT_TRUE(workloads->stop("web", OnBusy::kRefuse, operation).ok());
  EXPECT_EQ(workloads->show("web")->state, "stopped");
  engine.restart_engine();
  EXPECT_FALSE(containers().at(0).running) << "the engine starts no stopped workload";
  ASSERT_TRUE(workloads->start("web", OnBusy::kRefuse, operation).ok());
  EXPECT_EQ(containers().at(0).id, id);
  EXPECT_EQ(workloads->show("web")->state, "running");
  std::string log;
  engine.set_log({"hello"});
  ASSERT_TRUE(workloads
                  ->logs("web", {},
                         [&log](docker::Stream, std::string_view bytes) {
                           log += bytes;
                           return true;
                         },
                         {})
                  .ok());
  EXPECT_EQ(log, "hello\n");
  ASSERT_TRUE(workloads->remove("web", OnBusy::kRefuse, "uid:0", operation).ok());
  EXPECT_TRUE(containers().empty());
  EXPECT_TRUE(std::filesystem::is_directory(place)) << "volumes stay";
  EXPECT_EQ(workloads->show("web").error().code(), Code::kNotFound);
  EXPECT_EQ(catalog->audit().list(0, 10)->at(0).action, "workload.remove");
}

TEST_F(Recover, StartThatTheEngineRefusesChangesNothing) {
  apply();
  TestOperation operation;
  ASSERT_TRUE(deploy().ok());
  ASSERT_TRUE(workloads->stop("web", OnBusy::kRefuse, operation).ok());
  engine.fail("start", 1, Error(Code::kInternal, "engine: port is already allocated"));
  const auto refused = workloads->start("web", OnBusy::kRefuse, operation);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message().find("port is already allocated"), std::string::npos);
  EXPECT_EQ(workloads->show("web")->row.desired, catalog::Desired::kStopped);
  expect_clean();
}

TEST_F(Recover, StartWithoutContainerAndImageKeepsTheRows) {
  const std::string id = apply();
  ASSERT_TRUE(deploy().ok());
  TestOperation operation;
  ASSERT_TRUE(workloads->stop("web", OnBusy::kRefuse, operation).ok());
  ASSERT_TRUE(engine.remove(containers().at(0).id, {.force = true}).ok());
  engine.remove_image(std::string(kImageOne));
  const auto before = catalog->instances().list(id);
  const auto refused = workloads->start("web", OnBusy::kRefuse, operation);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message().find("not on this machine"), std::string::npos);
  EXPECT_EQ(catalog->instances().list(id).value(), before.value());
  EXPECT_EQ(workloads->show("web")->row.desired, catalog::Desired::kStopped);
}

TEST_F(Recover, LifecycleStartsTheSameContainersOrMakesThemAgain) {
  const std::string id = apply();
  ASSERT_TRUE(deploy().ok());
  const auto before = workloads->containers(id);
  ASSERT_TRUE(before.ok());
  ASSERT_EQ(before->size(), 1U);
  EXPECT_TRUE(before->at(0).running);
  EXPECT_EQ(before->at(0).restart_policy, "unless-stopped");
  EXPECT_TRUE(workloads->should_run(id).value());
  EXPECT_TRUE(workloads->can_start(id).ok());

  ASSERT_TRUE(engine.stop(before->at(0).id, {}).ok());
  const auto same = workloads->start(id, *before);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->container_ids, std::vector<std::string>{before->at(0).id});
  EXPECT_TRUE(same->created_ids.empty());
  EXPECT_TRUE(workloads->await_health(id, same->container_ids, {}).ok());

  ASSERT_TRUE(engine.remove(before->at(0).id, {.force = true}).ok());
  const auto made = workloads->start(id, *before);
  ASSERT_TRUE(made.ok()) << made.error().message();
  EXPECT_EQ(made->created_ids.size(), 1U);
  EXPECT_TRUE(workloads->await_health(id, made->container_ids, {}).ok());
  ASSERT_TRUE(workloads->remove_created(id, made->created_ids).ok());
  EXPECT_TRUE(containers().empty());

  engine.remove_image(std::string(kImageOne));
  ASSERT_TRUE(workloads->containers(id).ok());
  const auto lost = workloads->start(id, *before);
  EXPECT_EQ(lost.error().code(), Code::kNotFound);
}

TEST_F(Recover, CanStartSaysWhereTheImageIsGone) {
  const std::string id = apply();
  ASSERT_TRUE(deploy().ok());
  ASSERT_TRUE(engine.remove(containers().at(0).id, {.force = true}).ok());
  EXPECT_TRUE(workloads->can_start(id).ok());
  engine.remove_image(std::string(kImageOne));
  EXPECT_EQ(workloads->can_start(id).error().code(), Code::kRefused);
}

}  // namespace
}  // namespace cairn::workload
