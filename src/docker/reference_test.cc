#include "docker/reference.h"

#include <gtest/gtest.h>

namespace cairn::docker {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

Reference parse(std::string_view text) {
  auto reference = parse_reference(text);
  EXPECT_TRUE(reference.ok()) << text;
  return reference.value_or(Reference{});
}

TEST(Reference, TakesTheNameApart) {
  EXPECT_EQ(parse("nginx"), (Reference{"", "nginx", "", ""}));
  EXPECT_EQ(parse("nginx:1.25"), (Reference{"", "nginx", "1.25", ""}));
  EXPECT_EQ(parse("owner/app:v1"), (Reference{"", "owner/app", "v1", ""}));
  EXPECT_EQ(parse("localhost/app"), (Reference{"localhost", "app", "", ""}));
  EXPECT_EQ(parse("127.0.0.1:5000/a/b"), (Reference{"127.0.0.1:5000", "a/b", "", ""}));
  EXPECT_EQ(parse("ghcr.io/o/a:V_1.x-y@" + kDigest),
            (Reference{"ghcr.io", "o/a", "V_1.x-y", kDigest}));
  EXPECT_EQ(parse("[::1]:5000/app:v1"), (Reference{"[::1]:5000", "app", "v1", ""}));
  EXPECT_EQ(parse("Registry/app"), (Reference{"Registry", "app", "", ""}));
  EXPECT_EQ(parse("a__b/c---d.e_f"), (Reference{"", "a__b/c---d.e_f", "", ""}));
}

TEST(Reference, KnowsARepositoryByItsShortAndFullForms) {
  EXPECT_EQ(full_repository("nginx"), "docker.io/library/nginx");
  EXPECT_EQ(full_repository("nginx:1.25"), "docker.io/library/nginx");
  EXPECT_EQ(full_repository("docker.io/nginx"), "docker.io/library/nginx");
  EXPECT_EQ(full_repository("index.docker.io/team/app"), "docker.io/team/app");
  EXPECT_EQ(full_repository("localhost/app"), "localhost/app");
  EXPECT_EQ(full_repository("registry.example.com/app"), "registry.example.com/app");
  EXPECT_EQ(full_repository("no repository"), "no repository");
}

TEST(Reference, KnowsWhatCanNameARegistry) {
  for (const char* good : {"localhost", "localhost:5000", "127.0.0.1:5000", "ghcr.io", "[::1]:1"}) {
    EXPECT_TRUE(is_registry(good)) << good;
  }
  // "hub/app" is a repository of the default registry.
  for (const char* bad : {"", "hub", "https://ghcr.io", "ghcr.io/team", "ghcr.io:0", "a b.c",
                          "-.io", "ghcr.io:99999"}) {
    EXPECT_FALSE(is_registry(bad)) << bad;
  }
}

TEST(Reference, NeverMeansEveryTag) {
  EXPECT_EQ(parse("nginx").version(), "latest");
  EXPECT_EQ(parse("nginx").text(), "nginx:latest");
  EXPECT_EQ(parse("h:1/a:v").version(), "v");
  EXPECT_EQ(parse("h:1/a:v@" + kDigest).version(), kDigest);
  EXPECT_EQ(parse("h:1/a:v@" + kDigest).text(), "h:1/a@" + kDigest);
}

TEST(Reference, RefusesWhatIsNone) {
  for (std::string text : {std::string(),
                           std::string(":v1"),
                           std::string("app:"),
                           std::string("app:v 1"),
                           std::string("app:.v"),
                           "app:" + std::string(129, 'v'),
                           std::string("App"),
                           std::string("-app"),
                           std::string("app-"),
                           std::string("a..b"),
                           std::string("a._b"),
                           std::string("a___b"),
                           std::string("/app"),
                           std::string("app/"),
                           std::string("a//b"),
                           std::string("../b"),
                           std::string("a/../b"),
                           std::string("h:99999/app"),
                           std::string("h:/app"),
                           std::string("[::1/app"),
                           std::string("[]:1/app"),
                           std::string("app@"),
                           std::string("app@sha256:abc"),
                           std::string("app@md5:") + "0",
                           "app@sha256:" + std::string(64, 'A'),
                           kDigest,
                           std::string(300, 'a'),
                           std::string("a\nb"),
                           std::string("a?b=c"),
                           std::string("a%2fb"),
                           std::string("-h.example/app"),
                           std::string("h..x/app")}) {
    auto reference = parse_reference(text);
    EXPECT_FALSE(reference.ok()) << text;
    if (reference.ok()) continue;
    EXPECT_EQ(reference.error().code(), Code::kInvalid) << text;
  }
}

}  // namespace
}  // namespace cairn::docker
