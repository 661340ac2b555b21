// The order of the checks, with the real catalog, repository and services over a fake engine: what
// is wrong in several ways is answered for the first of them.
#include "api/router.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "api/problem.h"
#include "api/routes.h"
#include "api/services.h"
#include "base/ids.h"
#include "catalog/catalog.h"
#include "docker/fake_engine.h"
#include "os/dir.h"
#include "parallel/keyed_lock.h"
#include "repository/repository.h"
#include "volume/service.h"
#include "workload/service.h"

namespace cairn::api {
namespace {

using nlohmann::json;

// Everything below the API, in a directory of its own.
class House {
 public:
  explicit House(const std::string& base)
      : sealer_(codec::make_sealing_key()),
        catalog_(catalog::Catalog::open(base, sealer_).value()),
        repository_(
            repository::Repository::init(base + "/repo", "secret", {"host", "user"}).value()),
        operations_(*catalog_),
        workloads_({.catalog = *catalog_,
                    .engine = engine_,
                    .locks = locks_,
                    .place_settings = [this] { return volumes_.place_settings(); }}),
        volumes_({.catalog = *catalog_,
                  .operations = operations_,
                  .engine = engine_,
                  .repository = *repository_,
                  .locks = locks_,
                  .engine_socket_path = base + "/none.sock"},
                 base,
                 workloads_),
        services_{.catalog = *catalog_,
                  .operations = operations_,
                  .engine = engine_,
                  .volumes = volumes_,
                  .workloads = workloads_,
                  .kit = {.repository = base + "/repo", .password = "pw", .sealing_key = "00"},
                  .info = {.version = "1", .data_dir = base}},
        router_(all_routes(), services_, [this](const Request& request, const Route& route) {
          audited_.push_back(std::string(route.action) + " " + request.path);
          return audit_failure_;
        }) {}
  House(const House&) = delete;
  House& operator=(const House&) = delete;
  ~House() { operations_.begin_shutdown(); }

  codec::Sealer sealer_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<repository::Repository> repository_;
  docker::FakeEngine engine_;
  parallel::LockTable locks_;
  catalog::Operations operations_;
  workload::Workloads workloads_;
  volume::Service volumes_;
  Services services_;
  std::vector<std::string> audited_;
  Status audit_failure_;
  Router router_;
};

struct Answer {
  int status;
  json body;
  std::string location;
};
struct Extra {
  Role role = Role::kAdmin;
  std::string confirm;
  std::string body;
  std::string prefer;
};

class RouterTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-router-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    base_ = pattern;
    auto dir = os::Dir::open(base_);
    ASSERT_TRUE(dir.ok());
    for (const char* name : {"journal", "repo", "volumes"}) {
      ASSERT_TRUE(dir->make_dir(name, 0700).ok());
    }
    house_ = std::make_unique<House>(base_);
    web_ = add_workload("web", "image");
    other_ = add_workload("other", "image");
    box_ = add_workload("box", "sandbox");
    web_snapshot_ = add_snapshot(web_, "web");
    other_snapshot_ = add_snapshot(other_, "other");
    box_snapshot_ = add_snapshot(box_, "box");
  }
  void TearDown() override {
    house_.reset();
    auto parent = os::Dir::open("/tmp");
    ASSERT_TRUE(parent.ok());
    EXPECT_TRUE(parent->remove_tree(base_.substr(5)).ok());
  }

  std::string add_workload(const std::string& name, const std::string& kind) {
    const catalog::Workload row{.id = ids::make(ids::kWorkload),
                                .name = name,
                                .kind = kind,
                                .config_json = R"({"image":"example"})"};
    EXPECT_TRUE(house_->catalog_->workloads().insert(row).ok());
    return row.id;
  }
  std::string add_snapshot(const std::string& workload, const std::string& name) {
    const catalog::SnapshotRow row{.id = ids::make(ids::kSnapshot),
                                   .workload_id = workload,
                                   .workload_name = name,
                                   .state = catalog::SnapshotState::kStored,
                                   .consistency = "paused",
                                   .repository_snapshot = std::string(62, 'a') + name.substr(0, 2),
                                   .stored_ms = 1};
    const Status inserted = house_->catalog_->snapshots().insert(row);
    EXPECT_TRUE(inserted.ok()) << inserted.error().message();
    return row.id;
  }

  Answer call(Method method, const std::string& target, const Extra& extra = {}) {
    Request request;
    request.method = method;
    request.id = "req_test";
    request.caller = {.role = extra.role, .name = "uid:7"};
    request.body = extra.body;
    if (!extra.confirm.empty()) {
      request.headers.add("X-Confirm-Restore", extra.confirm);
      request.headers.add("X-Confirm-Remove", extra.confirm);
    }
    if (!extra.prefer.empty()) request.headers.add("Prefer", extra.prefer);
    const Status parsed = parse_target(target, request);
    EXPECT_TRUE(parsed.ok());
    Response response = house_->router_.handle(request);
    if (response.later) response = response.later(std::stop_token());
    return {.status = response.status,
            .body = json::parse(response.body, nullptr, false),
            .location = std::string(response.headers.get("location"))};
  }
  Answer restore(const std::string& workload, const std::string& snapshot, const Extra& extra) {
    return call(Method::kPost, "/api/workloads/" + workload + "/snapshots/" + snapshot + "/restore",
                extra);
  }

  std::string base_;
  std::unique_ptr<House> house_;
  std::string web_;
  std::string other_;
  std::string box_;
  std::string web_snapshot_;
  std::string other_snapshot_;
  std::string box_snapshot_;
};

TEST_F(RouterTest, RightComesBeforeEverything) {
  const Answer answer = restore("nowhere", "snap_x", {.role = Role::kNone, .confirm = "wrong"});
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.body.at("code"), "denied");
  EXPECT_TRUE(house_->audited_.empty());
}

TEST_F(RouterTest, HeaderComesBeforeTheWorkload) {
  EXPECT_EQ(restore("nowhere", "snap_x", {.confirm = "wrong"}).status, 400);
  EXPECT_EQ(restore("nowhere", "snap_x", {}).status, 400);
  EXPECT_TRUE(house_->audited_.empty());
  EXPECT_EQ(restore("nowhere", "snap_x", {.confirm = "snap_x"}).status, 404);
}

TEST_F(RouterTest, WorkloadThenSnapshotThenItsOwnerThenTheKind) {
  EXPECT_EQ(restore("web", "snap_x", {.confirm = "snap_x"}).status, 404);
  const Answer foreign = restore("web", other_snapshot_, {.confirm = other_snapshot_});
  EXPECT_EQ(foreign.status, 400);
  EXPECT_NE(foreign.body.at("detail").get<std::string>().find("other"), std::string::npos);
  // The foreign snapshot is said before the kind.
  EXPECT_EQ(restore("box", web_snapshot_, {.confirm = web_snapshot_})
                .body.at("detail")
                .get<std::string>()
                .find("kind"),
            std::string::npos);
  const Answer kind = restore("box", box_snapshot_, {.confirm = box_snapshot_, .body = "{"});
  EXPECT_EQ(kind.status, 400);
  EXPECT_NE(kind.body.at("detail").get<std::string>().find("kind"), std::string::npos);
}

TEST_F(RouterTest, BodyIsCheckedBeforeTheLock) {
  auto held = house_->locks_.try_lock({"workload:" + web_}, "op_other");
  ASSERT_TRUE(held.ok());
  const Answer wrong =
      restore("web", web_snapshot_, {.confirm = web_snapshot_, .body = R"({"on_failure":"x"})"});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.body.at("reasons").at(0).at("target"), "on_failure");
  const Answer busy = restore("web", web_snapshot_, {.confirm = web_snapshot_});
  EXPECT_EQ(busy.status, 409);
  EXPECT_EQ(busy.body.at("code"), "busy");
  EXPECT_EQ(busy.body.at("holder"), "op_other");
}

TEST_F(RouterTest, DryRunNeedsNoHeaderButRefusesAWrongOne) {
  const std::string path = "/api/workloads/nowhere/snapshots/snap_x/restore?dryRun=1";
  EXPECT_EQ(call(Method::kPost, path).status, 404);
  EXPECT_EQ(call(Method::kPost, path, {.confirm = "wrong"}).status, 400);
}

TEST_F(RouterTest, ChangingCallsAreAuditedFirst) {
  EXPECT_EQ(call(Method::kGet, "/api/workloads").status, 200);
  EXPECT_TRUE(house_->audited_.empty());
  EXPECT_EQ(call(Method::kPost, "/api/repository/key-export").status, 200);
  ASSERT_EQ(house_->audited_.size(), 1U);
  EXPECT_EQ(house_->audited_[0], "repository.key_export /api/repository/key-export");

  house_->audit_failure_ = Status(Error(Code::kNoSpace, "the disk is full"));
  const Answer refused = call(Method::kDelete, "/api/workloads/web", {.confirm = "web"});
  EXPECT_EQ(refused.status, 507);
  EXPECT_EQ(call(Method::kGet, "/api/workloads/web").status, 200);
}

TEST_F(RouterTest, UnknownPathAndMethodAreTold) {
  EXPECT_EQ(call(Method::kGet, "/api/nothing").status, 404);
  EXPECT_EQ(call(Method::kPut, "/api/workloads").status, 405);
  EXPECT_EQ(call(Method::kGet, "/api/workloads/").status, 404);
}

TEST_F(RouterTest, AsyncAnswersWithThePlaceOfTheOperation) {
  const Answer answer = call(Method::kPost, "/api/workloads/web/stop", {.prefer = "respond-async"});
  EXPECT_EQ(answer.status, 202);
  const auto id = answer.body.at("id").get<std::string>();
  EXPECT_EQ(answer.location, "/api/operations/" + id);
  ASSERT_TRUE(house_->operations_.wait(id).ok());
  const Answer row = call(Method::kGet, answer.location);
  EXPECT_EQ(row.status, 200);
  EXPECT_EQ(row.body.at("kind"), "workload.stop");
  EXPECT_NE(row.body.at("state"), "running");
}

TEST_F(RouterTest, WorkloadsAreFoundByIdAndName) {
  EXPECT_EQ(call(Method::kGet, "/api/workloads/web").body.at("id"), web_);
  EXPECT_EQ(call(Method::kGet, "/api/workloads/" + web_).body.at("name"), "web");
  EXPECT_EQ(call(Method::kGet, "/api/workloads/web/snapshots").body.at("snapshots").size(), 1U);
  EXPECT_EQ(call(Method::kGet, "/api/snapshots").body.at("snapshots").size(), 3U);
}

TEST_F(RouterTest, SnapshotsOfARemovedWorkloadAreStillThere) {
  ASSERT_TRUE(house_->catalog_->workloads().remove(web_).ok());
  EXPECT_EQ(call(Method::kGet, "/api/workloads/web").status, 404);
  for (const std::string& id : {web_, std::string("web")}) {
    EXPECT_EQ(call(Method::kGet, "/api/workloads/" + id + "/snapshots").status, 200);
    EXPECT_EQ(call(Method::kGet, "/api/workloads/" + id + "/snapshots/" + web_snapshot_).status,
              200);
  }
}

TEST_F(RouterTest, SettingsAreCheckedAndKeptAndForgotten) {
  const std::string path = "/api/settings/stop_grace_s";
  EXPECT_EQ(call(Method::kPut, path, {.body = R"({"value":"7"})"}).body.at("value"), "7");
  EXPECT_EQ(call(Method::kPut, path, {.body = R"({"value":8})"}).body.at("value"), "8");
  EXPECT_EQ(call(Method::kPut, path, {.body = R"({"value":"soon"})"}).status, 400);
  EXPECT_EQ(call(Method::kPut, path, {.body = "{}"}).status, 400);
  EXPECT_EQ(call(Method::kPut, "/api/settings/nonsense", {.body = R"({"value":"1"})"}).status, 404);
  EXPECT_EQ(call(Method::kDelete, path).status, 204);
  EXPECT_EQ(call(Method::kGet, path).body.at("value"), "10");
}

TEST_F(RouterTest, InternalErrorsTellNothing) {
  const Response response = problem(Error(Code::kInternal, "secret path /x").with_detail([] {
    ErrorDetail detail;
    detail.operation = "op_1";
    return detail;
  }()),
                                    "req_9");
  EXPECT_EQ(response.status, 500);
  const json body = json::parse(response.body);
  EXPECT_EQ(body.at("operation"), "op_1");
  EXPECT_EQ(body.at("request"), "req_9");
  EXPECT_EQ(response.body.find("secret"), std::string::npos);
}

TEST_F(RouterTest, EngineDownIsUnavailableAndReadingGoesOn) {
  house_->engine_.set_down(true);
  EXPECT_EQ(call(Method::kGet, "/api/workloads").status, 200);
  EXPECT_EQ(call(Method::kGet, "/api/system/info").body.at("engine").at("state"), "down");
  EXPECT_EQ(call(Method::kPost, "/api/workloads/web/deploy").status, 503);
  EXPECT_EQ(call(Method::kGet, "/healthz").status, 200);
}

}  // namespace
}  // namespace cairn::api
