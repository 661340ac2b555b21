#include "workload/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "workload/limits.h"
#include "workload/release_config.h"

namespace cairn::workload {
namespace {

constexpr std::string_view kFull = R"({
  "name": "db", "kind": "image",
  "public_faces": [{"subdomain": "db", "domain": "example.com", "target_port": 8080}],
  "config": {
    "image": "registry.example.com:5000/team/db", "registry_name": "", "port": 5432,
    "healthcheck": "exec:pg_isready", "env": {"PASSWORD": "s3cret"},
    "volumes": [{"target": "/data", "scope": "stage", "source": "data"}],
    "cpu_limit": 1.5, "memory_limit": 256, "default_tag": "15", "max_instances": 1,
    "command": ["postgres", "-c", "fsync=on"], "entrypoint": ["/entry"], "user": "postgres",
    "publish": ["127.0.0.1:5432:5432", "[::1]:53:53/udp"], "shm_size": 64, "stop_timeout": 30,
    "stop_signal": "SIGINT", "handover": "stop-first", "pull": "never"}})";

constexpr std::string_view kFullToml = R"(
name = "db"
kind = "image"
[[public_faces]]
subdomain = "db"
domain = "example.com"
target_port = 8080
[config]
image = "registry.example.com:5000/team/db"
registry_name = ""
port = 5432
healthcheck = "exec:pg_isready"
cpu_limit = 1.5
memory_limit = 256
default_tag = "15"
max_instances = 1
command = ["postgres", "-c", "fsync=on"]
entrypoint = ["/entry"]
user = "postgres"
publish = ["127.0.0.1:5432:5432", "[::1]:53:53/udp"]
shm_size = 64
stop_timeout = 30
stop_signal = "SIGINT"
handover = "stop-first"
pull = "never"
[config.env]
PASSWORD = "s3cret"
[[config.volumes]]
target = "/data"
scope = "stage"
source = "data"
)";

Definition parsed(std::string_view text, TextFormat format = TextFormat::kJson) {
  auto definition = parse_definition(text, format);
  EXPECT_TRUE(definition.ok()) << (definition.ok() ? "" : definition.error().message());
  return definition.ok() ? std::move(definition).value() : Definition{};
}

std::vector<Reason> faults_of(const std::string& config_members,
                              TextFormat format = TextFormat::kJson) {
  const auto definition = parse_definition(
      R"({"name":"web","kind":"image","config":{)" + config_members + "}}", format);
  if (definition.ok()) return {};
  EXPECT_EQ(definition.error().code(), Code::kInvalid);
  return definition.error().detail().reasons;
}

bool has_fault(const std::vector<Reason>& faults, const std::string& field) {
  return std::any_of(faults.begin(), faults.end(),
                     [&](const Reason& fault) { return fault.target == field; });
}

TEST(Definition, ReadsEveryKey) {
  const Definition definition = parsed(kFull);
  const ImageConfig& config = definition.config;
  EXPECT_EQ(definition.name, "db");
  EXPECT_EQ(definition.public_faces.at(0).target_port, 8080);
  EXPECT_EQ(config.image, "registry.example.com:5000/team/db");
  EXPECT_EQ(config.env.at("PASSWORD"), "s3cret");
  EXPECT_EQ(config.volumes.at(0).target, "/data");
  EXPECT_EQ(config.publish.at(0).host_ip, "127.0.0.1");
  EXPECT_EQ(config.publish.at(1).host_ip, "::1");
  EXPECT_EQ(config.publish.at(1).protocol, "udp");
  EXPECT_EQ(config.stop_timeout, 30);
  EXPECT_EQ(config.handover, Handover::kStopFirst);
  EXPECT_EQ(config.pull, Pull::kNever);
  EXPECT_EQ(health_kind(config), HealthKind::kExec);
}

TEST(Definition, IsTheSameFromToml) {
  EXPECT_EQ(parsed(kFull), parsed(kFullToml, TextFormat::kToml));
}

TEST(Definition, ComesBackFromItsStoredFormWithoutEnv) {
  ImageConfig config = parsed(kFull).config;
  const std::string stored = config_to_json(config);
  EXPECT_EQ(stored.find("s3cret"), std::string::npos);
  const auto read = config_from_json(stored);
  ASSERT_TRUE(read.ok()) << read.error().message();
  config.env.clear();
  EXPECT_EQ(*read, config);
  EXPECT_EQ(config_from_json("{}").error().code(), Code::kCorrupt);

  const ReleaseConfig release{.config = config,
                              .image_has_healthcheck = true,
                              .network = "cairn",
                              .allow_anonymous = {"/var/lib/anon"},
                              .takes_over = {{"cairn-db-1", "on-failure", 3}}};
  const auto release_read = release_config_from_json(release_config_to_json(release));
  ASSERT_TRUE(release_read.ok());
  EXPECT_EQ(*release_read, release);
}

TEST(Definition, NamesEveryFaultByItsFieldAtOnce) {
  const auto faults = faults_of(
      R"("image":"UPPER","prot":1,"port":70000,"cpu_limit":-1,"memory_limit":3,
         "env":{"A=B":"x","N":5},"publish":["80"],"handover":"x","pull":"maybe",
         "volumes":[{"target":"/a","scope":"moon","source":"s"}],"command":[1],
         "stop_signal":"no signal","healthcheck":"maybe","registry_name":"My Hub")");
  for (const char* field :
       {"config.image", "config.prot", "config.port", "config.cpu_limit", "config.memory_limit",
        "config.env.A=B", "config.env.N", "config.publish[0]", "config.handover", "config.pull",
        "config.volumes[0].scope", "config.command[0]", "config.stop_signal", "config.healthcheck",
        "config.registry_name"}) {
    EXPECT_TRUE(has_fault(faults, field)) << field;
  }
  EXPECT_TRUE(has_fault(faults_of(R"("default_tag":"no tag")"), "config.image"));
}

TEST(Definition, RefusesWhatNestsTooDeep) {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  const auto definition =
      parse_definition(R"({"name":"one","kind":"image","config":)" + deep + "}", TextFormat::kJson);
  ASSERT_FALSE(definition.ok());
  EXPECT_EQ(definition.error().message(), "the definition nests deeper than 32 levels");
}

TEST(Definition, RefusesAKeyThatIsThereTwice) {
  for (const char* text : {R"({"name":"one","name":"two","kind":"image","config":{"image":"app"}})",
                           R"({"name":"one","config":{"image":"app","env":{"A":"1","A":"2"}}})"}) {
    const auto definition = parse_definition(text, TextFormat::kJson);
    ASSERT_FALSE(definition.ok()) << text;
    EXPECT_NE(definition.error().message().find("twice"), std::string::npos)
        << definition.error().message();
  }
  EXPECT_TRUE(parse_definition(R"({"name":"one","kind":"image","config":{"image":"app",
                "env":{"name":"1"},"volumes":[{"source":"a","target":"/a","scope":"project"},
                {"source":"b","target":"/b","scope":"project"}]}})",
                               TextFormat::kJson)
                  .ok());
}

TEST(Definition, KnowsTheEnginesSignals) {
  for (const char* good : {"SIGINT", "TERM", "9", "RTMIN+3", "SIGRTMAX-14", "SIGRTMIN"}) {
    const auto faults = faults_of(R"("image":"app","stop_signal":")" + std::string(good) + "\"");
    EXPECT_FALSE(has_fault(faults, "config.stop_signal")) << good;
  }
  for (const char* bad : {"SIGNOPE", "0", "65", "RTMIN+16", "RTMAX-15", "RTMAX+1", "SIG"}) {
    const auto faults = faults_of(R"("image":"app","stop_signal":")" + std::string(bad) + "\"");
    EXPECT_TRUE(has_fault(faults, "config.stop_signal")) << bad;
  }
}

TEST(Definition, RefusesUnknownTopKeysNamesAndKinds) {
  const auto definition = parse_definition(
      R"({"name":"Web!","kind":"vm","extra":1,"config":{"image":"app"}})", TextFormat::kJson);
  ASSERT_FALSE(definition.ok());
  const auto& faults = definition.error().detail().reasons;
  EXPECT_TRUE(has_fault(faults, "name"));
  EXPECT_TRUE(has_fault(faults, "kind"));
  EXPECT_TRUE(has_fault(faults, "extra"));
}

TEST(Definition, NeverRepeatsAnEnvValue) {
  const std::string long_value(kEnvBytesMax + 1, 'Q');
  for (const std::string& text : {std::string(R"("image":"app","env":{"A":"TOPSECRET\u0000"})"),
                                  std::string(R"("image":"app","env":{"A":["TOPSECRET"]})"),
                                  R"("image":"app","env":{"A":")" + long_value + "\"}"}) {
    const auto faults = faults_of(text);
    ASSERT_TRUE(has_fault(faults, "config.env.A"));
    EXPECT_EQ(faults[0].detail.find("TOPSECRET"), std::string::npos);
    EXPECT_EQ(faults[0].detail.find("QQQQ"), std::string::npos);
  }
  for (const auto format : {TextFormat::kJson, TextFormat::kToml}) {
    const auto broken = parse_definition("env = \"TOPSECRET", format);
    ASSERT_FALSE(broken.ok());
    EXPECT_EQ(broken.error().message().find("TOPSECRET"), std::string::npos);
  }
  ImageConfig config;
  config.env = {{"A", "TOPSECRET"}};
  EXPECT_EQ(show_config(config)["env"]["A"], "***");
}

TEST(Definition, RefusesMalformedAndOversizedText) {
  EXPECT_FALSE(parse_definition("", TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition("[]", TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition("{\"name\":", TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition("\"\xff\"", TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition(std::string(100'000, '['), TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition(std::string(kDefinitionBytesMax + 1, ' '), TextFormat::kJson).ok());
  EXPECT_FALSE(parse_definition(std::string(100'000, '['), TextFormat::kToml).ok());
  EXPECT_FALSE(parse_definition("when = 1979-05-27\nname = \"web\"", TextFormat::kToml).ok());
  const auto name = parse_definition(
      "{\"name\":\"" + std::string(500'000, 'a') + "\",\"config\":{\"image\":\"app\"}}",
      TextFormat::kJson);
  ASSERT_FALSE(name.ok());
  EXPECT_LT(name.error().message().size(), 1000U);
}

TEST(Definition, TakesATagOrDigestFromTheImage) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(parsed(R"({"name":"w","config":{"image":"localhost:5000/a/b:v1"}})").config.default_tag,
            "v1");
  const ImageConfig pinned =
      parsed(R"({"name":"w","config":{"image":"app@)" + digest + "\"}}").config;
  EXPECT_EQ(pinned.image, "app");
  EXPECT_EQ(pinned.default_tag, digest);
  EXPECT_TRUE(has_fault(faults_of(R"("image":"app:v1","default_tag":"v2")"), "config.default_tag"));
  EXPECT_TRUE(has_fault(faults_of(R"("image":"")"), "config.image"));
}

TEST(Handover, IsStopFirstWhereDataOrPortsAreShared) {
  ImageConfig config;
  const volume::DeclaredVolume data{"/d", volume::Scope::kStage, "d", ""};
  const volume::DeclaredVolume scratch{"/t", volume::Scope::kEphemeral, "", ""};
  const volume::DeclaredVolume own{"/i", volume::Scope::kInstance, "i", ""};
  EXPECT_EQ(effective_handover(config, {}), Handover::kOverlap);
  EXPECT_EQ(effective_handover(config, {scratch, own}), Handover::kOverlap);
  EXPECT_EQ(effective_handover(config, {data}), Handover::kStopFirst);
  config.publish = {{"", 80, 80, "tcp"}};
  EXPECT_EQ(effective_handover(config, {}), Handover::kStopFirst);
  config.handover = Handover::kOverlap;
  EXPECT_EQ(effective_handover(config, {data}), Handover::kOverlap);

  config.max_instances = 2;
  EXPECT_FALSE(check_handover(config, {data}).has_value());
  config.handover = Handover::kAuto;
  EXPECT_TRUE(check_handover(config, {data}).has_value());
  EXPECT_TRUE(has_fault(faults_of(R"("image":"a","handover":"stop-first","max_instances":2)"),
                        "config.max_instances"));
}

}  // namespace
}  // namespace cairn::workload
