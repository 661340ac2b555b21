#include "catalog/keys.h"

#include "catalog/test_data.h"

namespace cairn::catalog {
namespace {

// A data directory without a catalog.
class Keys : public CatalogTest {
 protected:
  void SetUp() override {
    CatalogTest::SetUp();
    catalog_.reset();
    for (const char* name : {"catalog.db", "catalog.db-wal", "catalog.db-shm"}) {
      (void)data().remove_file(name).ok();
    }
  }
};

TEST_F(Keys, AreMadeOnceAndStay) {
  const auto key = load_or_create_sealing_key(data());
  ASSERT_TRUE(key.ok()) << key.error().message();
  EXPECT_EQ(load_or_create_sealing_key(data()).value_or({}), *key);
  const auto password = load_or_create_repository_password(data());
  ASSERT_TRUE(password.ok());
  EXPECT_EQ(password->size(), 64U);
  EXPECT_EQ(load_or_create_repository_password(data()).value_or(""), *password);
  EXPECT_NE(*password, codec::to_text(*key));
}

TEST_F(Keys, AreReadableByTheirOwnerOnly) {
  ASSERT_TRUE(load_or_create_sealing_key(data()).ok());
  ASSERT_TRUE(load_or_create_repository_password(data()).ok());
  EXPECT_EQ(data().stat("keys").value_or({}).mode, 0700U);
  const auto keys = data().open_dir("keys");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ(keys->stat("sealing.key").value_or({}).mode, 0400U);
  EXPECT_EQ(keys->stat("repository.password").value_or({}).mode, 0400U);
}

TEST_F(Keys, AreNotReplacedWhereTheyAreNeeded) {
  ASSERT_TRUE(data().publish_file("catalog.db", as_bytes("anything"), 0600).ok());
  const auto key = load_or_create_sealing_key(data());
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code(), Code::kCorrupt);
  EXPECT_NE(key.error().message().find("recovery kit"), std::string::npos);

  const auto repository = data().ensure_dir("repo", 0700);
  ASSERT_TRUE(repository.ok());
  ASSERT_TRUE(repository->publish_file("config", as_bytes("x"), 0600).ok());
  EXPECT_EQ(load_or_create_repository_password(data()).error().code(), Code::kCorrupt);
  EXPECT_FALSE(data().open_dir("keys")->stat("sealing.key").ok());
}

TEST_F(Keys, RefuseWhatIsNoKeyWithoutShowingIt) {
  const auto keys = data().ensure_dir("keys", 0700);
  ASSERT_TRUE(keys.ok());
  ASSERT_TRUE(keys->publish_file("sealing.key", as_bytes("not-a-key-but-secret\n"), 0400).ok());
  const auto key = load_or_create_sealing_key(data());
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code(), Code::kCorrupt);
  EXPECT_EQ(key.error().message().find("secret"), std::string::npos);
  ASSERT_TRUE(keys->publish_file("repository.password", as_bytes("\n"), 0400).ok());
  EXPECT_EQ(load_or_create_repository_password(data()).error().code(), Code::kCorrupt);
}

TEST_F(Keys, TakeAPasswordThatAPersonPutBack) {
  const auto keys = data().ensure_dir("keys", 0700);
  ASSERT_TRUE(keys.ok());
  ASSERT_TRUE(keys->publish_file("repository.password", as_bytes("from the kit\n"), 0400).ok());
  EXPECT_EQ(load_or_create_repository_password(data()).value_or(""), "from the kit");
}

}  // namespace
}  // namespace cairn::catalog
