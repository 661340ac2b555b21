#include "catalog/settings.h"

#include <map>
#include <string>

#include "catalog/test_data.h"

namespace cairn::catalog {
namespace {

using SettingsTest = CatalogTest;

TEST_F(SettingsTest, HaveTheirDefaults) {
  Settings expected;
  expected.base_volume_path = directory_ + "/volumes";
  EXPECT_EQ(catalog_->settings().all().value_or({}), expected);
  const auto list = catalog_->settings().list();
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->size(), 7U);
  for (const Setting& setting : *list) EXPECT_EQ(setting.source, "default") << setting.key;
}

TEST_F(SettingsTest, SetWinsOverConfigWinsOverDefault) {
  SettingTable& table = catalog_->settings();
  ASSERT_TRUE(table.set_config_values({{"stop_grace_s", "20"}, {"network", "inner"}}).ok());
  EXPECT_EQ(table.all().value_or({}).stop_grace_s, 20);
  ASSERT_TRUE(table.set("stop_grace_s", "30").ok());
  EXPECT_EQ(table.all().value_or({}).stop_grace_s, 30);
  const auto setting = table.get("stop_grace_s");
  ASSERT_TRUE(setting.ok());
  EXPECT_EQ(setting->source, "set");
  EXPECT_EQ(setting->fallback, "20");
  ASSERT_TRUE(table.unset("stop_grace_s").ok());
  EXPECT_EQ(table.get("stop_grace_s").value_or({}).source, "config");
  EXPECT_EQ(table.all().value_or({}).network, "inner");

  ASSERT_TRUE(table.set("undo_keep", "7d").ok());
  reopen();
  EXPECT_EQ(catalog_->settings().all().value_or({}).undo_keep_s, 7 * 24 * 3600);
  EXPECT_EQ(catalog_->settings().all().value_or({}).stop_grace_s, 10);
}

TEST_F(SettingsTest, ListsOfPathsAreSplit) {
  ASSERT_TRUE(catalog_->settings().set("allowed_volume_paths", "/srv/a:/srv/b c").ok());
  EXPECT_EQ(catalog_->settings().all().value_or({}).allowed_volume_paths,
            (std::vector<std::string>{"/srv/a", "/srv/b c"}));
  ASSERT_TRUE(catalog_->settings().set("allowed_volume_paths", "").ok());
  EXPECT_TRUE(catalog_->settings().all().value_or({}).allowed_volume_paths.empty());
}

TEST_F(SettingsTest, RefuseBadValues) {
  const std::multimap<std::string, std::string> bad = {
      {"network", ""},
      {"network", "host"},
      {"network", "a b"},
      {"base_volume_path", ""},
      {"base_volume_path", "relative"},
      {"base_volume_path", "/a/../etc"},
      {"base_volume_path", "/a\nb"},
      {"allowed_volume_paths", "/a:"},
      {"allowed_volume_paths", "/a:b"},
      {"stop_grace_s", "-1"},
      {"stop_grace_s", "1.5"},
      {"stop_grace_s", "99999999999999999999"},
      {"health_timeout_s", "0"},
      {"max_hold_s", "0"},
      {"max_hold_s", "10s"},
      {"undo_keep", "0"},
      {"undo_keep", "soon"},
      {"undo_keep", "9999999d"},
      {"allowed_volume_paths", "/" + std::string(kSettingValueBytesMax, 'x')},
  };
  for (const auto& [key, value] : bad) {
    const Status status = catalog_->settings().set(key, value);
    ASSERT_FALSE(status.ok()) << key << "=" << value.substr(0, 30);
    EXPECT_EQ(status.error().code(), Code::kInvalid);
    EXPECT_NE(status.error().message().find(key), std::string::npos);
  }
  EXPECT_EQ(catalog_->settings().set("colour", "red").error().code(), Code::kNotFound);
  EXPECT_EQ(catalog_->settings().unset("colour").error().code(), Code::kNotFound);
  EXPECT_EQ(catalog_->settings().get("colour").error().code(), Code::kNotFound);
}

TEST_F(SettingsTest, ConfigFileIsTakenWholeOrNotAtAll) {
  SettingTable& table = catalog_->settings();
  const Status unknown = table.set_config_values({{"stop_grace_s", "20"}, {"colour", "red"}});
  EXPECT_EQ(unknown.error().code(), Code::kInvalid);
  EXPECT_EQ(table.all().value_or({}).stop_grace_s, 10);
}

}  // namespace
}  // namespace cairn::catalog
