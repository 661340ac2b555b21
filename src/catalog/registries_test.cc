// Registries: stored, replaced, sealed.
#include "catalog/registries.h"

#include "catalog/test_data.h"
#include "sqlite/database.h"

namespace cairn::catalog {
namespace {

using Registries = CatalogTest;

Registry hub(std::string password = "hunter2-hunter2") {
  return {.name = "hub",
          .url = "hub.example.com:5000",
          .user = "robot",
          .password = std::move(password)};
}

TEST_F(Registries, AreReplacedByTheSameName) {
  ASSERT_TRUE(catalog_->registries().set(hub()).ok());
  const auto first = catalog_->registries().get("hub");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->url, "hub.example.com:5000");
  EXPECT_EQ(first->password, "hunter2-hunter2");
  ASSERT_TRUE(catalog_->registries().set(hub("rotated")).ok());
  reopen();
  const auto second = catalog_->registries().list();
  ASSERT_TRUE(second.ok());
  ASSERT_EQ(second->size(), 1U);
  EXPECT_EQ(second->front().password, "rotated");
  EXPECT_EQ(second->front().created_ms, first->created_ms);
}

TEST_F(Registries, AreNotFoundOnceRemoved) {
  ASSERT_TRUE(catalog_->registries().set(hub()).ok());
  ASSERT_TRUE(catalog_->registries().remove("hub").ok());
  EXPECT_EQ(catalog_->registries().get("hub").error().code(), Code::kNotFound);
  EXPECT_EQ(catalog_->registries().remove("hub").error().code(), Code::kNotFound);
  EXPECT_FALSE(catalog_->registries().find("hub").value_or(hub()).has_value());
}

TEST_F(Registries, HaveABound) {
  Registry one = hub();
  for (std::size_t i = 0; i < kRegistriesMax; ++i) {
    one.name = "r" + std::to_string(i);
    ASSERT_TRUE(catalog_->registries().set(one).ok()) << one.name;
  }
  ASSERT_TRUE(catalog_->registries().set(one).ok()) << "replacing is no growth";
  one.name = "more";
  EXPECT_EQ(catalog_->registries().set(one).error().code(), Code::kRefused);
  EXPECT_EQ(catalog_->registries().get("more").error().code(), Code::kNotFound);
}

TEST_F(Registries, KeepTheirPasswordSealedAndBoundToTheirName) {
  ASSERT_TRUE(catalog_->registries().set(hub()).ok());
  catalog_.reset();
  for (const os::Entry& entry : data().list().value_or({})) {
    const auto content = data().read_file(entry.name, 64U << 20U);
    ASSERT_TRUE(content.ok());
    EXPECT_EQ(content->find("hunter2"), std::string::npos) << entry.name;
  }
  {
    auto database = sqlite::Database::open(directory_ + "/catalog.db");
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->execute("UPDATE registries SET name = 'other'").ok());
  }
  reopen();
  EXPECT_EQ(catalog_->registries().get("other").error().code(), Code::kCorrupt);
  const auto findings = catalog_->check();
  ASSERT_TRUE(findings.ok());
  ASSERT_EQ(findings->size(), 1U);
  EXPECT_EQ(findings->front().subject, "registries");
}

}  // namespace
}  // namespace cairn::catalog
