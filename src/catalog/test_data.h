// A data directory of its own for each test of the catalog, and the sealer to open it with.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "codec/sealer.h"
#include "os/dir.h"

namespace cairn::catalog {

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/cairn-catalog-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    key_.fill(std::byte{7});
    reopen();
  }
  void TearDown() override {
    catalog_.reset();
    auto tmp = os::Dir::open("/tmp");
    ASSERT_TRUE(tmp.ok());
    EXPECT_TRUE(tmp->remove_tree(directory_.substr(5)).ok());
  }

  [[nodiscard]] codec::Sealer sealer() const { return codec::Sealer(key_); }
  // Closes the catalog and opens it again, as a restart of the daemon does.
  void reopen() {
    catalog_.reset();
    auto opened = Catalog::open(directory_, sealer());
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    catalog_ = std::move(opened).value();
  }
  [[nodiscard]] os::Dir data() const {
    auto dir = os::Dir::open(directory_);
    EXPECT_TRUE(dir.ok());
    return std::move(dir).value();
  }
  static Workload web() {
    Workload workload;
    workload.id = "wl_web";
    workload.name = "web";
    workload.kind = "image";
    workload.config_json = R"({"image":"postgres"})";
    workload.env = {{"PASSWORD", "hunter2-hunter2"}, {"EMPTY", ""}};
    workload.created_ms = 1000;
    workload.updated_ms = 1000;
    return workload;
  }
  void add(const Workload& workload) {
    const Status status = catalog_->workloads().insert(workload);
    ASSERT_TRUE(status.ok()) << status.error().message();
  }

  std::string directory_;
  codec::SealingKey key_;
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace cairn::catalog
