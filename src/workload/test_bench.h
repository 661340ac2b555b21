// A bench for this floor's tests: a catalog in a scratch directory, the engine in memory, and the
// service on top. Tests only; one thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "codec/sealer.h"
#include "docker/fake_engine.h"
#include "parallel/keyed_lock.h"
#include "workload/cut_engine.h"
#include "workload/service.h"

namespace cairn::workload {

// An operation that is only a name.
class TestOperation final : public catalog::OperationContext {
 public:
  explicit TestOperation(std::string id = "op_test") : id_(std::move(id)) {}
  void phase(std::string_view name) override {
    phases.emplace_back(name);
    if (on_phase) on_phase(name);
    if (cancel_at == name) stop.request_stop();
  }
  void count(const Count&) override {}
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  [[nodiscard]] const std::string& id() const override { return id_; }
  [[nodiscard]] std::stop_token stop_token() const override { return stop.get_token(); }
  [[nodiscard]] std::stop_token ending_token() const override { return ending.get_token(); }
  Status forbid_cancel() override {
    if (stop.stop_requested()) return Error(Code::kCancelled, "cancelled");
    return {};
  }

  std::stop_source stop;
  std::stop_source ending;
  std::function<void(std::string_view)> on_phase;
  std::string cancel_at;  // the phase at which somebody cancels
  std::vector<std::string> phases;
  std::vector<std::string> warnings;

 private:
  std::string id_;
};

inline constexpr std::string_view kImageOne =
    "sha256:1111111111111111111111111111111111111111111111111111111111111111";
inline constexpr std::string_view kImageTwo =
    "sha256:2222222222222222222222222222222222222222222222222222222222222222";

class TestBench : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "cairn-workload-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (const char* name : {"/data", "/volumes", "/allowed"}) {
      std::filesystem::create_directory(dir_ + name);
    }
    open();
    add_local("app", "v1", kImageOne);
    add_local("app", "v2", kImageTwo);
  }
  void TearDown() override {
    workloads.reset();
    catalog.reset();
    std::filesystem::remove_all(dir_);
  }

  // Opens catalog and service, as a daemon that starts does.
  void open() {
    auto opened = catalog::Catalog::open(dir_ + "/data", sealer_);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    catalog = std::move(opened).value();
    ASSERT_TRUE(catalog->settings()
                    .set_config_values({{"base_volume_path", dir_ + "/volumes"},
                                        {"allowed_volume_paths", dir_ + "/allowed"},
                                        {"health_timeout_s", "1"}})
                    .ok());
    locks = std::make_unique<parallel::LockTable>();
    workloads = std::make_unique<Workloads>(Parts{
        .catalog = *catalog,
        .engine = cut,
        .locks = *locks,
        .place_settings = [this] { return places(); },
        .pace = {
            .interval_ms = 5, .probe_timeout_ms = 500, .settle_ms = 10, .recovery_retry_ms = 5}});
  }
  // The daemon is killed and starts again, engine and rows as they are.
  void restart() {
    workloads.reset();
    catalog.reset();
    open();
  }

  Result<volume::PlaceSettings> places() {
    volume::PlaceSettings settings;
    settings.data_dir = dir_ + "/data";
    settings.base_volume_path = dir_ + "/volumes";
    settings.allowed_paths = {dir_ + "/allowed"};
    settings.engine = &engine;
    return settings;
  }

  void add_local(const std::string& repository, const std::string& tag, std::string_view id) {
    docker::Image image;
    image.id = id;
    engine.add_image(image, {repository + ":" + tag});
  }

  // A definition of "web" with more keys in its config.
  static std::string definition(const std::string& more = "") {
    return R"({"name":"web","kind":"image","config":{"image":"app","default_tag":"v1")" +
           (more.empty() ? "" : "," + more) + "}}";
  }
  std::string apply(const std::string& more = "") {
    const auto applied = workloads->apply(definition(more), TextFormat::kJson, "uid:0");
    EXPECT_TRUE(applied.ok()) << applied.error().message();
    return applied.ok() ? applied->workload.row.id : "";
  }
  Result<DeployResult> deploy(const std::string& tag = "", bool force = false) {
    TestOperation operation;
    DeployOptions options;
    options.tag = tag;
    options.force = force;
    return workloads->deploy("web", options, operation);
  }
  // Names of the containers that are there, running ones first with "*".
  std::vector<docker::Container> containers() {
    std::vector<docker::Container> found;
    const auto list = engine.list_containers({});
    for (const auto& one : list.value()) {
      found.push_back(engine.find_container(one.id).value().value());
    }
    return found;
  }
  void expect_clean() {
    const auto findings = workloads->check();
    ASSERT_TRUE(findings.ok()) << findings.error().message();
    for (const auto& finding : *findings) {
      ADD_FAILURE() << finding.code << " " << finding.subject << ": " << finding.detail;
    }
  }

  std::string dir_;
  codec::Sealer sealer_{codec::SealingKey{}};
  docker::FakeEngine engine;
  CutEngine cut{engine};  // what the service speaks to
  std::unique_ptr<catalog::Catalog> catalog;
  std::unique_ptr<parallel::LockTable> locks;
  std::unique_ptr<Workloads> workloads;
};

}  // namespace cairn::workload
