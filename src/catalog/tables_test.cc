// Each table keeps every field of its rows, and refuses what it says it refuses.
#include <string>
#include <thread>
#include <vector>

#include "catalog/catalog.h"
#include "catalog/test_data.h"

namespace cairn::catalog {
namespace {

using Tables = CatalogTest;

TEST_F(Tables, WorkloadNamesAreUnique) {
  add(web());
  Workload same_name = web();
  same_name.id = "wl_2";
  EXPECT_EQ(catalog_->workloads().insert(same_name).error().code(), Code::kExists);
  Workload same_id = web();
  same_id.name = "other";
  EXPECT_EQ(catalog_->workloads().insert(same_id).error().code(), Code::kExists);
  EXPECT_EQ(catalog_->workloads().list().value_or({}).size(), 1U);
}

TEST_F(Tables, WorkloadVersionsRiseWithWhatChanged) {
  add(web());
  WorkloadTable& table = catalog_->workloads();
  WorkloadTable::Change change{
      .config_json = web().config_json, .env = web().env, .faces_json = "[]"};

  const auto same = table.update_config("wl_web", change);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(*same, web()) << "an equal change writes nothing";

  change.config_json = R"({"image":"postgres","port":5432})";
  const auto config = table.update_config("wl_web", change);
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->config_version, 2);
  EXPECT_EQ(config->env_version, 1);

  change.env["PASSWORD"] = "new";
  const auto env = table.update_config("wl_web", change);
  ASSERT_TRUE(env.ok());
  EXPECT_EQ(env->config_version, 3);
  EXPECT_EQ(env->env_version, 2);
  EXPECT_EQ(table.get("wl_web").value_or({}), *env);
  EXPECT_EQ(table.update_config("wl_absent", change).error().code(), Code::kNotFound);
}

TEST_F(Tables, WorkloadIsFoundByIdAndName) {
  add(web());
  WorkloadTable& table = catalog_->workloads();
  EXPECT_EQ(table.get("wl_web").value_or({}).name, "web");
  EXPECT_EQ(table.get("web").value_or({}).id, "wl_web");
  EXPECT_EQ(table.get("absent").error().code(), Code::kNotFound);
  EXPECT_FALSE(table.find("absent").value_or(web()).has_value());
  ASSERT_TRUE(table.set_desired("wl_web", Desired::kRemoved).ok());
  EXPECT_EQ(table.get("web").value_or({}).desired, Desired::kRemoved);
  EXPECT_EQ(table.set_desired("wl_absent", Desired::kRunning).error().code(), Code::kNotFound);
}

TEST_F(Tables, WorkloadGenerationNeverFalls) {
  add(web());
  WorkloadTable& table = catalog_->workloads();
  EXPECT_EQ(table.bump_generation("wl_web").value_or(0), 1);
  EXPECT_EQ(table.bump_generation("wl_web").value_or(0), 2);
  ASSERT_TRUE(table.raise_generation("wl_web", 1).ok());
  EXPECT_EQ(table.get("web").value_or({}).data_generation, 2);
  ASSERT_TRUE(table.raise_generation("wl_web", 4).ok());
  EXPECT_EQ(table.get("web").value_or({}).data_generation, 4);
  EXPECT_EQ(table.bump_generation("wl_absent").error().code(), Code::kNotFound);
}

TEST_F(Tables, WorkloadThatGoesLeavesItsData) {
  add(web());
  ASSERT_TRUE(catalog_->volumes().set({.workload_id = "wl_web", .target = "/data"}).ok());
  ASSERT_TRUE(catalog_->places()
                  .insert_once({.workload_id = "wl_web", .key = "k", .path_or_name = "/p"})
                  .ok());
  Release release;
  release.id = "rel_1";
  release.workload_id = "wl_web";
  ASSERT_TRUE(catalog_->releases().insert(release).ok());
  ASSERT_TRUE(catalog_->snapshots().insert({.id = "snap_1", .workload_id = "wl_web"}).ok());
  ASSERT_TRUE(catalog_->undos().insert({.id = "undo_1", .workload_id = "wl_web"}).ok());
  ASSERT_TRUE(catalog_->instances().insert({.container_name = "c", .workload_id = "wl_web"}).ok());

  EXPECT_EQ(catalog_->workloads().remove("wl_web").error().code(), Code::kConflict);
  ASSERT_TRUE(catalog_->instances().remove("c").ok());
  ASSERT_TRUE(catalog_->workloads().remove("wl_web").ok());
  EXPECT_EQ(catalog_->workloads().remove("wl_web").error().code(), Code::kNotFound);
  EXPECT_TRUE(catalog_->volumes().list("wl_web").value_or({{}}).empty());
  EXPECT_TRUE(catalog_->releases().list("wl_web").value_or({{}}).empty());
  EXPECT_EQ(catalog_->places().list("wl_web").value_or({}).size(), 1U);
  EXPECT_EQ(catalog_->snapshots().list("wl_web").value_or({}).size(), 1U);
  EXPECT_EQ(catalog_->undos().list("wl_web").value_or({}).size(), 1U);
}

TEST_F(Tables, VolumeRowsReplaceEachOtherByTarget) {
  VolumeTable& table = catalog_->volumes();
  const VolumeRow row{.workload_id = "wl_web", .target = "/b", .source = "s", .scope = "stage"};
  EXPECT_EQ(table.set(row).error().code(), Code::kNotFound) << "its workload does not exist";
  add(web());
  ASSERT_TRUE(table.set(row).ok());
  ASSERT_TRUE(table.set({.workload_id = "wl_web", .target = "/a", .source = "x"}).ok());
  ASSERT_TRUE(
      table.set({.workload_id = "wl_web", .target = "/b", .scope = "named", .name = "n"}).ok());
  const auto rows = table.list("wl_web");
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_EQ(rows->front().target, "/a");
  EXPECT_EQ(rows->back().scope, "named");
  EXPECT_EQ(rows->back().source, "");
  EXPECT_EQ(rows->back().name, "n");
  ASSERT_TRUE(table.unset("wl_web", "/b").ok());
  EXPECT_EQ(table.unset("wl_web", "/b").error().code(), Code::kNotFound);
  EXPECT_FALSE(table.find("wl_web", "/b").value_or(row).has_value());
}

TEST_F(Tables, PlaceIsWrittenOnceAndNeverMoves) {
  const Place first{.workload_id = "wl_web",
                    .key = place_key("stage", "data"),
                    .kind = PlaceKind::kBind,
                    .path_or_name = "/volumes/wl_web/data",
                    .created_ms = 5};
  EXPECT_EQ(catalog_->places().insert_once(first).value_or({}), first);
  Place moved = first;
  moved.path_or_name = "/elsewhere";
  moved.kind = PlaceKind::kVolume;
  EXPECT_EQ(catalog_->places().insert_once(moved).value_or({}), first);
  EXPECT_EQ(catalog_->places().find("wl_web", first.key).value_or(std::nullopt), first);
  // The NUL keeps scope and source apart.
  EXPECT_FALSE(
      catalog_->places().find("wl_web", place_key("stag", "edata")).value_or(first).has_value());
}

Release release_of(const std::string& id, std::int64_t created_ms) {
  Release release;
  release.id = id;
  release.workload_id = "wl_web";
  release.image = "postgres";
  release.image_id = "sha256:1";
  release.digest = "sha256:2";
  release.tag = "15";
  release.config_json = "{}";
  release.env = {{"A", "B"}};
  release.env_version = 2;
  release.config_version = 3;
  release.data_generation = 4;
  release.volumes_json = "[1]";
  release.faces_json = "[2]";
  release.mounts = {
      {.target = "/data", .scope = "stage", .kind = PlaceKind::kBind, .place = "/p"},
      {.target = "/tmp", .scope = "ephemeral", .kind = PlaceKind::kTmpfs, .place = ""}};
  release.operation_id = "op_1";
  release.created_ms = created_ms;
  return release;
}

TEST_F(Tables, ReleasesKeepAllTheyHoldAndOneRuns) {
  add(web());
  ReleaseTable& table = catalog_->releases();
  const Release first = release_of("rel_1", 10);
  ASSERT_TRUE(table.insert(first).ok());
  EXPECT_EQ(table.find("rel_1").value_or(std::nullopt), first);
  EXPECT_FALSE(table.current("wl_web").value_or(first).has_value()) << "it is only deploying";

  ASSERT_TRUE(table.promote("rel_1").ok());
  ASSERT_TRUE(table.insert(release_of("rel_2", 20)).ok());
  EXPECT_EQ(table.current("wl_web").value_or(std::nullopt)->id, "rel_1");
  EXPECT_EQ(table.list_in(ReleaseState::kDeploying).value_or({}).size(), 1U);
  ASSERT_TRUE(table.promote("rel_2").ok());
  const auto current = table.current("wl_web").value_or(std::nullopt);
  ASSERT_TRUE(current.has_value());
  EXPECT_EQ(current->id, "rel_2");
  EXPECT_GT(current->finished_ms, 0);
  EXPECT_EQ(table.find("rel_1").value_or(std::nullopt)->state, ReleaseState::kRetired);

  ASSERT_TRUE(table.set_state("rel_2", ReleaseState::kStopped).ok());
  EXPECT_EQ(table.current("wl_web").value_or(std::nullopt)->id, "rel_2");
  EXPECT_EQ(table.promote("rel_absent").error().code(), Code::kNotFound);
  Release orphan = release_of("rel_3", 30);
  orphan.workload_id = "wl_absent";
  EXPECT_EQ(table.insert(orphan).error().code(), Code::kNotFound);
}

TEST_F(Tables, ReleasesAreTrimmedButForThoseInUse) {
  add(web());
  ReleaseTable& table = catalog_->releases();
  ASSERT_TRUE(catalog_
                  ->atomically([&table]() -> Status {
                    for (std::int64_t i = 0; i < kReleasesPerWorkloadMax + 10; ++i) {
                      Release release = release_of("rel_" + std::to_string(1000 + i), i + 1);
                      release.state = i == 0 ? ReleaseState::kRunning : ReleaseState::kRetired;
                      TRY(table.insert(release));
                    }
                    return {};
                  })
                  .ok());
  const auto left = table.list("wl_web");
  ASSERT_TRUE(left.ok());
  EXPECT_EQ(left->size(), static_cast<std::size_t>(kReleasesPerWorkloadMax) + 1);
  EXPECT_EQ(left->back().id, "rel_1000") << "the running one is the oldest and stays";
}

TEST_F(Tables, InstancesAreKnownBeforeTheirContainerIs) {
  InstanceTable& table = catalog_->instances();
  Instance instance{.container_name = "cairn-web-1",
                    .workload_id = "wl_web",
                    .release_id = "rel_1",
                    .role = InstanceRole::kInstance,
                    .state = InstanceState::kCreating,
                    .port = 5432,
                    .created_ms = 9};
  ASSERT_TRUE(table.insert(instance).ok());
  EXPECT_EQ(table.insert(instance).error().code(), Code::kExists);
  EXPECT_FALSE(table.find("").value_or(instance).has_value())
      << "an empty id is not the id of the container to come";
  instance.container_id = "abc";
  instance.state = InstanceState::kRunning;
  ASSERT_TRUE(table.update(instance).ok());
  EXPECT_EQ(table.find("abc").value_or(std::nullopt), instance);
  EXPECT_EQ(table.find("cairn-web-1").value_or(std::nullopt), instance);
  EXPECT_EQ(table.list("").value_or({}).size(), 1U);
  EXPECT_TRUE(table.list("wl_other").value_or({{}}).empty());
  ASSERT_TRUE(table.remove("cairn-web-1").ok());
  ASSERT_TRUE(table.remove("cairn-web-1").ok());
  EXPECT_EQ(table.update(instance).error().code(), Code::kNotFound);
}

TEST_F(Tables, SnapshotsKeepAllTheyHold) {
  SnapshotTable& table = catalog_->snapshots();
  SnapshotRow row;
  row.id = "snap_1";
  row.workload_id = "wl_web";
  row.workload_name = "web";
  row.operation_id = "op_1";
  row.consistency = "paused";
  row.labels = {{"why", "before \"the\" upgrade"}};
  row.hold_ms = 12;
  row.bytes = 1ULL << 42U;
  row.files = 3;
  row.volumes = {
      {.index = 0, .target = "/data", .scope = "stage", .source = "d", .bytes = 1, .files = 2}};
  row.skipped = {{.target = "/t", .scope = "ephemeral", .code = "ephemeral", .reason = "not kept"}};
  row.warnings = {"1 socket skipped"};
  row.data_generation = 2;
  row.release_id = "rel_1";
  row.created_ms = 50;
  ASSERT_TRUE(table.insert(row).ok());
  EXPECT_EQ(table.insert(row).error().code(), Code::kExists);
  EXPECT_EQ(table.find("snap_1").value_or(std::nullopt), row);
  EXPECT_FALSE(table.find_by_repository_snapshot("").value_or(row).has_value());

  row.state = SnapshotState::kStored;
  EXPECT_FALSE(table.update(row).ok()) << "stored without a repository snapshot";
  row.repository_snapshot = std::string(64, 'a');
  row.stored_ms = 60;
  row.verified_ms = 70;
  ASSERT_TRUE(table.update(row).ok());
  EXPECT_EQ(table.find_by_repository_snapshot(row.repository_snapshot).value_or(std::nullopt), row);
  EXPECT_TRUE(table.list_in(SnapshotState::kCut).value_or({{}}).empty());

  SnapshotRow newer{.id = "snap_2", .workload_id = "wl_other", .created_ms = 90};
  ASSERT_TRUE(table.insert(newer).ok());
  EXPECT_EQ(table.list("").value_or({}).front().id, "snap_2");
  EXPECT_EQ(table.list("wl_web").value_or({}).size(), 1U);
  ASSERT_TRUE(table.remove("snap_1").ok());
  EXPECT_EQ(table.remove("snap_1").error().code(), Code::kNotFound);
  EXPECT_EQ(table.update(row).error().code(), Code::kNotFound);
}

TEST_F(Tables, UndosExpireOnlyWhenTheyMay) {
  UndoTable& table = catalog_->undos();
  UndoRow row{.id = "undo_1",
              .workload_id = "wl_web",
              .workload_name = "web",
              .operation_id = "op_1",
              .snapshot_id = "snap_1",
              .made_generation = 3,
              .expires_ms = 0,
              .volumes_json = "[{}]",
              .created_ms = 5};
  ASSERT_TRUE(table.insert(row).ok());
  EXPECT_EQ(table.find("undo_1").value_or(std::nullopt), row);
  EXPECT_EQ(table.find_by_operation("op_1").value_or(std::nullopt), row);
  EXPECT_TRUE(table.list_expired(INT64_MAX).value_or({{}}).empty()) << "it never expires";
  row.expires_ms = 100;
  row.pre_restore_snapshot = "snap_2";
  ASSERT_TRUE(table.update(row).ok());
  EXPECT_TRUE(table.list_expired(99).value_or({{}}).empty());
  EXPECT_EQ(table.list_expired(100).value_or({}).size(), 1U);
  row.state = UndoState::kApplying;
  ASSERT_TRUE(table.update(row).ok());
  EXPECT_TRUE(table.list_expired(100).value_or({{}}).empty()) << "it is being applied";
  ASSERT_TRUE(table.remove("undo_1").ok());
  EXPECT_EQ(table.remove("undo_1").error().code(), Code::kNotFound);
}

TEST_F(Tables, AuditComesNewestFirst) {
  AuditTable& table = catalog_->audit();
  const auto first =
      table.append({.actor = "uid:0", .action = "snapshot.restore", .subject = "web"});
  const auto second = table.append({.actor = "uid:7", .action = "workload.rm", .subject = "web"});
  ASSERT_TRUE(first.ok() && second.ok());
  const auto all = table.list(0, 10);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ(all->front().id, *second);
  EXPECT_EQ(all->front().actor, "uid:7");
  EXPECT_GT(all->front().time_ms, 0);
  EXPECT_EQ(table.list(*second, 10).value_or({}).size(), 1U);
  EXPECT_EQ(table.list(0, 1).value_or({}).size(), 1U);
}

TEST_F(Tables, TakeWritesOfManyThreads) {
  add(web());
  constexpr int kThreads = 4;
  constexpr int kRounds = 25;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this] {
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_TRUE(catalog_->workloads().bump_generation("wl_web").ok());
        EXPECT_TRUE(catalog_->workloads().list().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(catalog_->workloads().get("web").value_or({}).data_generation, kThreads * kRounds);
}

}  // namespace
}  // namespace cairn::catalog
