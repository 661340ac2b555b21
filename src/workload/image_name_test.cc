#include "workload/image_name.h"

#include <gtest/gtest.h>

namespace cairn::workload {
namespace {

TEST(ImageName, JoinsTagsAndDigests) {
  EXPECT_EQ(join_reference("localhost:5000/app", "v1"), "localhost:5000/app:v1");
  const std::string digest = "sha256:" + std::string(64, '0');
  EXPECT_EQ(join_reference("app", digest), "app@" + digest);
}

TEST(ImageName, FindsTheDigestOfItsOwnRepositoryOnly) {
  const std::vector<std::string> digests{"other/app@sha256:1", "app@sha256:2"};
  EXPECT_EQ(digest_of(digests, "docker.io/library/app"), "sha256:2");
  EXPECT_EQ(digest_of(digests, "third/app"), std::nullopt);
  EXPECT_EQ(digest_of({}, "app"), std::nullopt);
}

TEST(ImageName, FitsTagsIntoContainerNames) {
  EXPECT_EQ(tag_for_name("v1.2-rc_3"), "v1.2-rc_3");
  EXPECT_EQ(tag_for_name("sha256:abc"), "sha256-abc");
  EXPECT_EQ(tag_for_name(std::string(100, 'a')).size(), 32U);
  EXPECT_EQ(tag_for_name(""), "latest");
}

}  // namespace
}  // namespace cairn::workload
