// Before a pause: what must not be frozen half-way is awaited.
#include "volume/pause.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "docker/fake_engine.h"

namespace cairn::volume {
namespace {

class AwaitStartedCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_.add_image({.id = "sha256:1"}, {"app:1"});
    id_ = engine_.create_container({.name = "web", .image = "app:1"}).value();
    ASSERT_TRUE(engine_.start(id_).ok());
  }
  void edit(const std::function<void(docker::Container&)>& change) {
    ASSERT_TRUE(engine_.edit(id_, change).ok());
  }
  // How long it waited.
  std::int64_t wait_ms() {
    const std::int64_t from_ms = monotonic_ms();
    const Status waited = await_started_commands(engine_, {{.id = id_, .name = "web"}});
    EXPECT_TRUE(waited.ok()) << waited.error().message();
    return monotonic_ms() - from_ms;
  }
  // A container whose probe is due in so long.
  void probe_in(std::int64_t ms) {
    edit([&](docker::Container& one) {
      one.health_interval_ms = 60'000;
      one.health_log = {{.exit_code = 0, .output = "", .ended_ms = wall_ms() + ms - 60'000}};
    });
  }

  docker::FakeEngine engine_;
  std::string id_;
};

TEST_F(AwaitStartedCommands, WaitsForAStartUntilItIsOver) {
  edit([](docker::Container& one) { one.exec_ids = {"runs", "starts"}; });
  int looks = 0;
  engine_.on_find_exec([&](const std::string& exec_id) {
    if (exec_id == "runs") return docker::Exec{.running = true, .pid = 5, .exit_code = {}};
    ++looks;
    return docker::Exec{.running = true, .pid = looks < 4 ? 0 : 6, .exit_code = {}};
  });
  wait_ms();
  EXPECT_EQ(looks, 4);
}

TEST_F(AwaitStartedCommands, GivesUpOnAStartThatDoesNotEnd) {
  edit([](docker::Container& one) { one.exec_ids = {"starts"}; });
  engine_.on_find_exec([](const std::string&) { return docker::Exec{.running = true}; });
  EXPECT_GE(wait_ms(), 2000);
}

TEST_F(AwaitStartedCommands, WaitsForNoneThatWasMadeAndNotStartedOrHasEnded) {
  edit([](docker::Container& one) { one.exec_ids = {"made", "failed", "gone"}; });
  int looks = 0;
  engine_.on_find_exec([&](const std::string& exec_id) {
    ++looks;
    return exec_id == "failed" ? docker::Exec{.running = false, .pid = 0, .exit_code = 126}
                               : docker::Exec{};
  });
  wait_ms();
  EXPECT_EQ(looks, 3) << "one look at each";
}

TEST_F(AwaitStartedCommands, WaitsForAProbeThatIsDueUntilItIsLate) {
  probe_in(0);
  EXPECT_GE(wait_ms(), 190);
  probe_in(100);
  EXPECT_GE(wait_ms(), 290);
}

TEST_F(AwaitStartedCommands, WaitsForAProbeThatIsDueUntilItIsOver) {
  probe_in(250);
  std::atomic<bool> over = false;
  std::thread probe([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    over = true;
    probe_in(60'000);
  });
  wait_ms();
  EXPECT_TRUE(over);
  probe.join();
}

TEST_F(AwaitStartedCommands, AsksOnceWhereNothingIsToBeAwaited) {
  // Nothing but an answer can end a wait for one that is asked for the first time.
  engine_.fail("find_container", 2, Error(Code::kInternal, "asked twice"));
  probe_in(10'000);
  wait_ms();
}

TEST_F(AwaitStartedCommands, DoesNotWaitForProbesThatAreMadeAllTheTime) {
  engine_.fail("find_container", 2, Error(Code::kInternal, "asked twice"));
  probe_in(100);
  edit([](docker::Container& one) {
    one.health_interval_ms = 500;
    one.health_log.back().ended_ms = wall_ms() - 400;
  });
  wait_ms();
}

TEST_F(AwaitStartedCommands, WaitsForTheFirstProbeAfterTheStart) {
  edit([](docker::Container& one) {
    one.health_interval_ms = 60'000;
    one.started_ms = wall_ms() - 60'000;
    one.health_log = {{.exit_code = 0, .output = "", .ended_ms = one.started_ms - 1}};
  });
  EXPECT_GE(wait_ms(), 190);
}

TEST_F(AwaitStartedCommands, OneThatIsGoneIsFineAndAFailureIsTold) {
  EXPECT_TRUE(await_started_commands(engine_, {{.id = "gone", .name = "gone"}}).ok());
  engine_.set_down(true);
  EXPECT_EQ(await_started_commands(engine_, {{.id = id_, .name = "web"}}).error().code(),
            Code::kUnavailable);
}

}  // namespace
}  // namespace cairn::volume
