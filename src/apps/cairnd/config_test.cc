#include "apps/cairnd/config.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace cairn::daemon {
namespace {

TEST(ParseConfig, ReadsEverything) {
  auto config = parse_config(R"(
data = "/srv/cairn"
socket = "/run/c.sock"
docker = "unix:///run/d.sock"
[log]
format = "json"
level = "debug"
[settings]
network = "blue"
stop_grace_s = 5
undo_keep = "2h"
allowed_volume_paths = ["/srv/a", "/srv/b"]
)");
  ASSERT_TRUE(config.ok()) << config.error().message();
  EXPECT_EQ(config->data_dir, "/srv/cairn");
  EXPECT_EQ(config->socket_path, "/run/c.sock");
  EXPECT_EQ(config->docker, "unix:///run/d.sock");
  EXPECT_EQ(config->log_format, log::Format::kJson);
  EXPECT_EQ(config->log_level, log::Level::kDebug);
  EXPECT_EQ(config->settings.at("network"), "blue");
  EXPECT_EQ(config->settings.at("stop_grace_s"), "5");
  EXPECT_EQ(config->settings.at("allowed_volume_paths"), "/srv/a:/srv/b");
}

TEST(ParseConfig, EmptyIsTheDefaults) {
  auto config = parse_config("");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->data_dir, "/var/lib/cairn");
  EXPECT_TRUE(config->settings.empty());
}

TEST(ParseConfig, NamesEveryFault) {
  auto config = parse_config(R"(
dta = "/x"
socket = "relative"
[log]
format = "xml"
colour = "red"
[settings]
stop_grace_s = "soon"
nonsense = 1
allowed_volume_paths = ["/a:b"]
)");
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().code(), Code::kInvalid);
  std::vector<std::string> keys;
  for (const Reason& reason : config.error().detail().reasons) keys.push_back(reason.target);
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(keys, (std::vector<std::string>{"dta", "log.colour", "log.format",
                                            "settings.allowed_volume_paths", "settings.nonsense",
                                            "settings.stop_grace_s", "socket"}));
}

TEST(ParseConfig, BrokenTomlNamesTheLine) {
  auto config = parse_config("data = \"/x\"\nsocket = = 1\n");
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().message().find("line 2"), std::string::npos);
}

}  // namespace
}  // namespace cairn::daemon
