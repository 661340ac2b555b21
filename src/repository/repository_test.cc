// Repositories on the real file system of /tmp: capture, commit, restore, locks, damage, prune.
#include "repository/repository.h"

#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <random>

#include "repository/checker.h"
#include "repository/limits.h"
#include "repository/lock.h"
#include "repository/pruner.h"
#include "repository/test_repository.h"

namespace cairn::repository {
namespace {

std::string noise(std::size_t size, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(generator());
  return out;
}

std::vector<std::filesystem::path> files_below(const std::string& path) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) out.push_back(entry.path());
  }
  return out;
}

std::size_t errors_of(const Result<std::vector<CheckFinding>>& findings) {
  EXPECT_TRUE(findings.ok()) << findings.error().message();
  std::size_t errors = 0;
  for (const CheckFinding& finding : *findings) {
    errors += finding.severity == CheckFinding::Severity::kError ? 1 : 0;
  }
  return errors;
}

class Stored : public RepositoryTest {
 protected:
  void fill() {
    std::filesystem::create_directories(source() + "/dir/below");
    std::filesystem::create_directory(source() + "/empty");
    write_file(source() + "/small", "hello");
    write_file(source() + "/nothing", "");
    write_file(source() + "/dir/large", noise(9'000'001, 1));
    write_file(source() + "/dir/below/pages", noise(3 << 20, 2));
    std::filesystem::create_symlink("../small", source() + "/dir/link");
    std::filesystem::create_hard_link(source() + "/small", source() + "/dir/same");
    ASSERT_EQ(::mkfifo((source() + "/fifo").c_str(), 0640), 0);
    ASSERT_EQ(::chmod((source() + "/dir").c_str(), 01750), 0);
    ASSERT_EQ(::chmod((source() + "/small").c_str(), 04711), 0);
  }
  [[nodiscard]] std::string source() const { return path_ + "/source"; }
  Id stored() {
    const auto id = snapshot_source();
    EXPECT_TRUE(id.ok()) << id.error().message();
    return *id;
  }
};

TEST_F(Stored, RestoresWhatWasThere) {
  fill();
  const Id id = stored();
  const Status restored = restore_path(id);
  ASSERT_TRUE(restored.ok()) << restored.error().message();
  for (const char* name : {"/small", "/nothing", "/dir/large", "/dir/below/pages"}) {
    EXPECT_EQ(read_back(target() + name), read_back(source() + name)) << name;
  }
  EXPECT_EQ(std::filesystem::read_symlink(target() + "/dir/link"), "../small");
  struct stat a{};
  struct stat b{};
  ASSERT_EQ(::stat((target() + "/small").c_str(), &a), 0);
  ASSERT_EQ(::stat((target() + "/dir/same").c_str(), &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_EQ(a.st_mode & 07777U, 04711U);
  struct stat was{};
  for (const char* name : {"", "/dir", "/dir/below", "/empty", "/fifo", "/small"}) {
    ASSERT_EQ(::stat((source() + name).c_str(), &was), 0);
    ASSERT_EQ(::stat((target() + name).c_str(), &a), 0);
    EXPECT_EQ(a.st_mode, was.st_mode) << name;
    EXPECT_EQ(a.st_mtim.tv_sec, was.st_mtim.tv_sec) << name;
    EXPECT_EQ(a.st_mtim.tv_nsec, was.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(read_file(*repository_, id, "/manifest.json", 100).value(), "{}");
  EXPECT_EQ(read_file(*repository_, id, "/manifest.json", 1).error().code(), Code::kInvalid);
  EXPECT_EQ(read_file(*repository_, id, "/no", 100).error().code(), Code::kNotFound);
  EXPECT_EQ(restore_path(id, "/volumes/7").error().code(), Code::kNotFound);
  const StoredSize size = measure(*repository_, id, volume_path(0)).value();
  EXPECT_EQ(size.entries, 11U);
  EXPECT_EQ(size.bytes, 9'000'001U + (3U << 20U) + 10U);
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
  EXPECT_EQ(errors_of(verify_snapshot(*repository_, id, progress_, {})), 0U);
}

TEST_F(Stored, UnchangedTreesAddNothingButTheTop) {
  fill();
  stored();
  EXPECT_GT(added_, 5U);
  reopen();
  stored();
  EXPECT_LE(added_, 2U);  // the root tree (its times) and what names it
}

TEST_F(Stored, HolesStayHoles) {
  const std::string path = source() + "/sparse";
  write_file(path, "begin");
  std::filesystem::resize_file(path, 40 << 20);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20'000'000);
    file << "middle";
  }
  ASSERT_TRUE(restore_path(stored()).ok());
  EXPECT_EQ(read_back(target() + "/sparse"), read_back(path));
  struct stat stat{};
  ASSERT_EQ(::stat((target() + "/sparse").c_str(), &stat), 0);
  EXPECT_LT(stat.st_blocks * 512, 1 << 20);
}

TEST_F(Stored, ManySmallFilesAndDirectories) {
  for (int d = 0; d < 300; ++d) {
    const std::string dir = source() + "/" + std::to_string(d);
    std::filesystem::create_directory(dir);
    for (int f = 0; f < 20; ++f) {
      write_file(dir + "/" + std::to_string(f), noise(static_cast<std::size_t>(f * 37), 5));
    }
  }
  ASSERT_TRUE(restore_path(stored()).ok());
  for (const auto& file : files_below(source())) {
    const std::string relative = file.lexically_relative(source());
    ASSERT_EQ(read_back(target() + "/" + relative), read_back(file)) << relative;
  }
}

TEST_F(Stored, NothingIsNamedBeforeTheCommit) {
  fill();
  {
    auto pending = archive_source();
    ASSERT_TRUE(pending.ok());
    EXPECT_TRUE(repository_->snapshots()->empty());
    EXPECT_TRUE(files_below(path_ + "/repo/index").empty());
    EXPECT_TRUE(files_below(path_ + "/repo/snapshots").empty());
    EXPECT_EQ(files_below(path_ + "/repo/locks").size(), 1U);
  }
  EXPECT_TRUE(files_below(path_ + "/repo/locks").empty());
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
}

TEST_F(Stored, CancelledCapturesLeaveNoSnapshot) {
  fill();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(archive_source(stop.get_token()).error().code(), Code::kCancelled);
  EXPECT_TRUE(repository_->snapshots()->empty());
}

TEST_F(Stored, SnapshotsAreFoundByPrefixAndRemoved) {
  fill();
  const Id id = stored();
  EXPECT_EQ(repository_->find_snapshot(id.hex().substr(0, 8))->id, id);
  EXPECT_EQ(repository_->find_snapshot("abc").error().code(), Code::kInvalid);
  EXPECT_EQ(repository_->find_snapshot("zzzz").error().code(), Code::kNotFound);
  ASSERT_TRUE(repository_->remove_snapshot(id).ok());
  EXPECT_EQ(repository_->remove_snapshot(id).error().code(), Code::kNotFound);
  EXPECT_TRUE(repository_->snapshots()->empty());
}

TEST_F(Stored, PruneKeepsWhatIsUsedAndFreesTheRest) {
  write_file(source() + "/keep", noise(3'000'000, 1));
  write_file(source() + "/drop", noise(6'000'000, 2));
  const Id first = stored();
  std::filesystem::remove(source() + "/drop");
  const Id second = stored();
  ASSERT_TRUE(repository_->remove_snapshot(first).ok());
  const auto stats = prune(*repository_, progress_, {});
  ASSERT_TRUE(stats.ok()) << stats.error().message();
  EXPECT_GT(stats->bytes_freed, 5'000'000U);
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
  reopen();
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
  ASSERT_TRUE(restore_path(second).ok());
  EXPECT_EQ(read_back(target() + "/keep"), noise(3'000'000, 1));
  ASSERT_TRUE(repository_->remove_snapshot(second).ok());
  ASSERT_TRUE(prune(*repository_, progress_, {}).ok());
  EXPECT_TRUE(files_below(path_ + "/repo/data").empty());
}

TEST_F(Stored, PruneRefusesADamagedRepositoryAndChangesNothing) {
  fill();
  const Id first = stored();
  write_file(source() + "/more", noise(100'000, 3));
  stored();
  ASSERT_TRUE(repository_->remove_snapshot(first).ok());
  std::filesystem::remove(files_below(path_ + "/repo/data").front());
  const auto before = files_below(path_ + "/repo");
  EXPECT_EQ(prune(*repository_, progress_, {}).error().code(), Code::kCorrupt);
  EXPECT_EQ(files_below(path_ + "/repo").size(), before.size());
}

TEST_F(Stored, EveryFlippedByteOfAPackIsFound) {
  fill();
  const Id id = stored();
  std::mt19937 generator(1);
  for (const auto& pack : files_below(path_ + "/repo/data")) {
    const std::string good = read_back(pack);
    std::string bad = good;
    bad[generator() % bad.size()] ^= 1;
    std::filesystem::permissions(pack, std::filesystem::perms::owner_all);
    write_file(pack, bad);
    EXPECT_GT(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
    write_file(pack, good.substr(0, good.size() - 1));
    EXPECT_GT(errors_of(check(*repository_, ReadData::kNo, progress_, {})), 0U);
    write_file(pack, std::string(good.size(), '\0'));
    EXPECT_EQ(restore_path(id).error().code(), Code::kCorrupt);
    EXPECT_GT(errors_of(verify_snapshot(*repository_, id, progress_, {})), 0U);
    write_file(pack, good);
  }
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
}

TEST_F(Stored, ADamagedPackIsPassedOverWhereAnotherHoldsTheBlobs) {
  fill();
  // One block three times, in chunks of fixed length since the file has holes.
  const std::string block = noise(64 << 10, 7);
  write_file(source() + "/repeated", block + block + block);
  std::filesystem::resize_file(source() + "/repeated", 8 << 20);
  stored();
  // Without its index nothing is known, and all is stored once more.
  const auto index = files_below(path_ + "/repo/index");
  const std::filesystem::path aside = path_ + "/aside";
  std::filesystem::create_directory(aside);
  for (const auto& file : index) std::filesystem::rename(file, aside / file.filename());
  reopen();
  const Id id = stored();
  for (const auto& file : index) std::filesystem::rename(aside / file.filename(), file);
  reopen();
  std::size_t damaged = 0;
  for (const auto& pack : files_below(path_ + "/repo/data")) {
    const std::string good = read_back(pack);
    if (good.size() < (1 << 20)) continue;  // of trees, whose top is each snapshot's own
    ++damaged;
    std::filesystem::permissions(pack, std::filesystem::perms::owner_all);
    write_file(pack, std::string(good.size(), '\0'));
    const Status restored = restore_path(id);
    ASSERT_TRUE(restored.ok()) << restored.error().message();
    for (const char* name : {"/small", "/repeated", "/dir/large", "/dir/below/pages"}) {
      EXPECT_EQ(read_back(target() + name), read_back(source() + name)) << name;
    }
    write_file(pack, good);
  }
  EXPECT_EQ(damaged, 2U);
}

TEST_F(Stored, ChangedIndexSnapshotAndConfigFilesAreRefused) {
  fill();
  stored();
  for (const char* kind : {"index", "snapshots", "keys"}) {
    const auto file = files_below(path_ + "/repo/" + kind).front();
    const std::string good = read_back(file);
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    write_file(file, good.substr(0, good.size() / 2));
    auto opened = Repository::open(path_ + "/repo", kTestPassword, kTestOwner);
    const bool refused = !opened.ok() || !(*opened)->snapshots().ok();
    EXPECT_TRUE(refused) << kind;
    write_file(file, good);
  }
  const std::string config = path_ + "/repo/config";
  std::filesystem::permissions(config, std::filesystem::perms::owner_all);
  write_file(config, "not sealed at all, but long enough to be");
  EXPECT_EQ(Repository::open(path_ + "/repo", kTestPassword, kTestOwner).error().code(),
            Code::kCorrupt);
}

TEST_F(Stored, OtherNamesInTheRepositoryAreIgnored) {
  fill();
  stored();
  for (const char* name : {"/index/README", "/snapshots/0123-tmp-1", "/data/00ff", "/locks/x"}) {
    write_file(path_ + "/repo" + name, "noise");
  }
  reopen();
  EXPECT_EQ(repository_->snapshots()->size(), 1U);
  EXPECT_EQ(errors_of(check(*repository_, ReadData::kYes, progress_, {})), 0U);
}

TEST_F(Stored, PasswordsAndSecondInitsAreRefused) {
  EXPECT_EQ(Repository::open(path_ + "/repo", "wrong", kTestOwner).error().code(), Code::kDenied);
  EXPECT_EQ(Repository::init(path_ + "/repo", "x", kTestOwner).error().code(), Code::kExists);
  EXPECT_EQ(Repository::open(path_ + "/nothing", "x", kTestOwner).error().code(), Code::kNotFound);
}

TEST_F(Stored, LocksExcludeEachOther) {
  auto other = Repository::open(path_ + "/repo", kTestPassword, kTestOwner);
  ASSERT_TRUE(other.ok());
  {
    const auto shared = repository_->lock(LockMode::kShared);
    ASSERT_TRUE(shared.ok());
    EXPECT_TRUE((*other)->lock(LockMode::kShared).ok());
    const auto refused = (*other)->lock(LockMode::kExclusive);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kBusy);
    EXPECT_FALSE(refused.error().detail().holder.empty());
  }
  const auto exclusive = (*other)->lock(LockMode::kExclusive);
  ASSERT_TRUE(exclusive.ok());
  EXPECT_EQ(repository_->lock(LockMode::kShared).error().code(), Code::kBusy);
}

TEST_F(Stored, LocksOfDeadProcessesAreStale) {
  // No process has this number: it is above the kernel's largest.
  const std::string json = R"({"time":")" + to_rfc3339(wall_now()) +
                           R"(","exclusive":true,"hostname":"test","username":"x","pid":4194305})";
  ASSERT_TRUE(repository_->save_unpacked(FileKind::kLock, json).ok());
  ASSERT_TRUE(repository_->remove_stale_locks().ok());
  EXPECT_TRUE(files_below(path_ + "/repo/locks").empty());
  ASSERT_TRUE(repository_->save_unpacked(FileKind::kLock, json).ok());
  EXPECT_TRUE(repository_->lock(LockMode::kShared).ok());
  const std::string elsewhere =
      R"({"time":")" + to_rfc3339(wall_now()) +
      R"(","exclusive":true,"hostname":"elsewhere","username":"x","pid":4194305})";
  ASSERT_TRUE(repository_->save_unpacked(FileKind::kLock, elsewhere).ok());
  EXPECT_EQ(repository_->lock(LockMode::kShared).error().code(), Code::kBusy);
}

TEST_F(Stored, PacksHaveNoNameBeforeTheFlush) {
  const Bytes content(1000);
  const std::string name = codec::sha256(content).hex();
  Backend& backend = repository_->backend();
  ASSERT_TRUE(backend.save_later(FileKind::kPack, name, content).ok());
  EXPECT_TRUE(backend.list(FileKind::kPack)->empty());
  ASSERT_TRUE(backend.flush().ok());
  EXPECT_EQ(backend.size_of(FileKind::kPack, name).value(), 1000U);
  EXPECT_EQ(backend.load(FileKind::kPack, name, 999).error().code(), Code::kCorrupt);
  EXPECT_EQ(backend.load(FileKind::kPack, "../config", 9999).error().code(), Code::kInvalid);
  Bytes beyond(10);
  EXPECT_EQ(backend.load_range(FileKind::kPack, name, 995, beyond).error().code(), Code::kCorrupt);
}

// What no index names is nobody's, and nobody would find it.
TEST_F(Stored, AStoreThatIsGivenUpLeavesNoPack) {
  const auto packs = [this] { return repository_->backend().list(FileKind::kPack)->size(); };
  const auto store = [this](BlobWriter& writer, std::size_t count) {
    StoreContext context(repository_->master_key());
    Bytes random(std::size_t{4} << 20U);
    for (std::size_t i = 0; i < count; ++i) {
      codec::random_bytes(random);
      ASSERT_TRUE(writer.store(BlobType::kData, random, context).ok());
    }
  };
  {
    BlobWriter writer(*repository_, {});
    store(writer, 48);  // more packs than wait for their name at once
    ASSERT_TRUE(writer.drain().ok());
    EXPECT_GT(packs(), 0U);
  }
  EXPECT_EQ(packs(), 0U);
  {
    BlobWriter writer(*repository_, {});
    store(writer, 2);
    PendingSnapshot pending;
    pending.repository = repository_.get();
    auto finished = writer.finish();
    ASSERT_TRUE(finished.ok());
    pending.packs = std::move(*finished);
  }
  ASSERT_TRUE(repository_->backend().flush().ok());
  EXPECT_EQ(packs(), 0U);
  write_file(path_ + "/source/file", "after all that");
  ASSERT_TRUE(snapshot_source().ok());
  EXPECT_TRUE(find_unindexed(*repository_)->empty());
}

// Whoever hands over, waits or finishes is told what became of the packs, not that storing ended.
TEST_F(Stored, AStoreTellsWhyItsPacksWereNotTaken) {
  std::filesystem::remove_all(path_ + "/repo/data");
  BlobWriter writer(*repository_, {});
  StoreContext context(repository_->master_key());
  Bytes random(std::size_t{4} << 20U);
  const auto store = [&]() -> Status {
    codec::random_bytes(random);
    TRY(writer.store(BlobType::kData, random, context));
    return {};
  };
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(store().ok());  // one pack
  EXPECT_EQ(writer.drain().error().code(), Code::kNotFound);
  Status stored;
  for (int i = 0; i < 100 && stored.ok(); ++i) stored = store();
  ASSERT_FALSE(stored.ok());
  EXPECT_EQ(stored.error().code(), Code::kNotFound) << stored.error().message();
  EXPECT_EQ(writer.finish().error().code(), Code::kNotFound);
}

// The packs are the data then, and an index can be made from them again.
TEST_F(Stored, PacksStayWhereTheIndexWasLost) {
  write_file(path_ + "/source/file", "the only copy");
  ASSERT_TRUE(snapshot_source().ok());
  const std::size_t packs = repository_->backend().list(FileKind::kPack)->size();
  ASSERT_GT(packs, 0U);
  std::filesystem::remove_all(path_ + "/repo/index");
  std::filesystem::create_directory(path_ + "/repo/index");
  reopen();
  const auto removed = remove_unindexed(*repository_);
  ASSERT_FALSE(removed.ok());
  EXPECT_EQ(removed.error().code(), Code::kCorrupt);
  EXPECT_EQ(repository_->backend().list(FileKind::kPack)->size(), packs);
}

TEST_F(Stored, PacksWithoutAnIndexAreFoundAndRemovedAndNoOthers) {
  write_file(path_ + "/source/file", "kept");
  const auto kept = snapshot_source();
  ASSERT_TRUE(kept.ok());
  const std::size_t before = repository_->backend().list(FileKind::kPack)->size();
  const std::string name(64, 'a');
  ASSERT_TRUE(repository_->backend().save(FileKind::kPack, name, as_bytes("half a store")).ok());
  const auto found = find_unindexed(*repository_);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->front().name, name);
  {
    // Somebody who stores now has packs without an index, too.
    const auto other = repository_->lock(LockMode::kShared);
    ASSERT_TRUE(other.ok());
    EXPECT_FALSE(remove_unindexed(*repository_).ok());
    EXPECT_EQ(repository_->backend().list(FileKind::kPack)->size(), before + 1);
  }
  const auto removed = remove_unindexed(*repository_);
  ASSERT_TRUE(removed.ok()) << removed.error().message();
  EXPECT_EQ(removed->packs_removed, 1U);
  EXPECT_EQ(repository_->backend().list(FileKind::kPack)->size(), before);
  EXPECT_EQ(remove_unindexed(*repository_)->packs_removed, 0U);
}

}  // namespace
}  // namespace cairn::repository
