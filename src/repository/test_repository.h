// For this module's tests: a repository in a scratch directory, and trees made by hand.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "repository/archive.h"
#include "repository/backend/backend.h"
#include "repository/blob_writer.h"
#include "repository/repository.h"
#include "repository/restorer.h"

namespace cairn::repository {

inline const Owner kTestOwner{.hostname = "test", .username = "test"};
inline constexpr const char* kTestPassword = "a password of tests";

class RepositoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/cairn-repository-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    auto made = Repository::init(path_ + "/repo", kTestPassword, kTestOwner);
    ASSERT_TRUE(made.ok()) << made.error().message();
    repository_ = std::move(*made);
    std::filesystem::create_directory(path_ + "/source");
    std::filesystem::create_directory(path_ + "/outside");
    std::filesystem::create_directory(path_ + "/scratch");
    auto scratch = os::Dir::open(path_ + "/scratch");
    ASSERT_TRUE(scratch.ok());
    scratch_ = std::move(*scratch);
    write_file(path_ + "/outside/secret", "untouched");
  }
  void TearDown() override {
    repository_.reset();
    std::filesystem::remove_all(path_);
  }

  static void write_file(const std::string& path, std::string_view content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  static std::string read_back(const std::string& path) {
    std::ostringstream whole;
    whole << std::ifstream(path, std::ios::binary).rdbuf();
    return std::move(whole).str();
  }
  void reopen() {
    repository_.reset();
    auto opened = Repository::open(path_ + "/repo", kTestPassword, kTestOwner);
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    repository_ = std::move(*opened);
  }

  Result<PendingSnapshot> archive_source(const std::stop_token& stop = {}) {
    return archive_source(progress_, stop);
  }
  Result<PendingSnapshot> archive_source(Progress& progress, const std::stop_token& stop = {}) {
    TRY_ASSIGN(const os::Dir source, os::Dir::open(path_ + "/source"));
    return archive(*repository_, "{}", {{0, &source}}, *scratch_, progress, stop);
  }
  Result<Id> snapshot_source() {
    TRY_ASSIGN(PendingSnapshot pending, archive_source());
    added_ = pending.result.blobs_added;
    return commit(std::move(pending));
  }
  Result<Id> commit(PendingSnapshot pending) {
    return repository_->commit(std::move(pending), {.time = wall_now(),
                                                    .hostname = "test",
                                                    .username = "",
                                                    .tags = {},
                                                    .parent = {},
                                                    .original = {}});
  }
  // Into a new directory, whose name is target().
  Status restore_path(const Id& snapshot, const std::string& path = volume_path(0)) {
    std::filesystem::remove_all(target());
    std::filesystem::create_directory(target());
    TRY_ASSIGN(const os::Dir dir, os::Dir::open(target()));
    TRY(restore(*repository_, snapshot, {{path, &dir}}, progress_, {}));
    return {};
  }
  [[nodiscard]] std::string target() const { return path_ + "/target"; }

  // A snapshot whose root tree is this JSON; blobs of data are stored beside it.
  Result<Id> forge(std::string_view tree_json, const std::vector<std::string>& data = {}) {
    TRY_ASSIGN(const Id tree, forge_blobs({std::string(tree_json)}, data));
    return forge_snapshot(tree);
  }
  // Stores tree and data blobs as they are; the id of the first tree.
  Result<Id> forge_blobs(const std::vector<std::string>& trees,
                         const std::vector<std::string>& data = {}) {
    BlobWriter writer(*repository_, {});
    StoreContext context(repository_->master_key());
    for (const std::string& blob : data) {
      TRY(writer.store(BlobType::kData, as_bytes(blob), context));
    }
    for (const std::string& tree : trees) {
      TRY(writer.store(BlobType::kTree, as_bytes(tree), context));
    }
    TRY_ASSIGN(std::vector<IndexedPack> packs, writer.finish());
    TRY(repository_->backend().flush());
    TRY(repository_->save_index(std::move(packs)));
    return codec::sha256(as_bytes(trees.at(0)));
  }
  Result<Id> forge_snapshot(const Id& tree) {
    const SnapshotInfo info{.id = {}, .tree = tree, .meta = {.time = wall_now()}, .paths = {"/x"}};
    return repository_->save_unpacked(FileKind::kSnapshot, encode_snapshot(info));
  }

  std::string path_;
  std::unique_ptr<Repository> repository_;
  std::optional<os::Dir> scratch_;
  NoProgress progress_;
  std::uint64_t added_ = 0;  // blobs, by the last snapshot_source()
};

}  // namespace cairn::repository
