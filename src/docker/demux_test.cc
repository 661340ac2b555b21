#include "docker/demux.h"

#include <gtest/gtest.h>

namespace cairn::docker {
namespace {

std::string frame(char kind, std::string_view bytes) {
  std::string text{kind, 0, 0, 0, 0, 0};
  text += static_cast<char>(bytes.size() >> 8U);
  text += static_cast<char>(bytes.size() & 0xffU);
  return text + std::string(bytes);
}

struct Seen {
  std::string out;
  std::string err;
  Status status;
};

Seen feed(std::string_view bytes, std::size_t piece) {
  Seen seen;
  Demux demux;
  auto sink = [&seen](Stream stream, std::string_view part) {
    (stream == Stream::kErr ? seen.err : seen.out) += part;
    return true;
  };
  while (!bytes.empty() && seen.status.ok()) {
    seen.status = demux.feed(bytes.substr(0, piece), sink);
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  if (seen.status.ok()) seen.status = demux.end();
  return seen;
}

TEST(Demux, SplitsStreamsHoweverTheyAreCut) {
  std::string bytes = frame(1, "one\n") + frame(2, "bad\n") + frame(0, "") + frame(0, "two") +
                      frame(1, std::string(300, 'x'));
  for (std::size_t piece : {1U, 3U, 8U, 9U, 1000U}) {
    Seen seen = feed(bytes, piece);
    EXPECT_TRUE(seen.status.ok()) << piece;
    EXPECT_EQ(seen.out, "one\ntwo" + std::string(300, 'x')) << piece;
    EXPECT_EQ(seen.err, "bad\n") << piece;
  }
}

TEST(Demux, RefusesUnknownFrames) {
  for (std::string bytes : {frame(4, "x"), std::string("plain text of a terminal"),
                            std::string("\x01\x01\x00\x00\x00\x00\x00\x01x", 9)}) {
    Seen seen = feed(bytes, 1);
    ASSERT_FALSE(seen.status.ok());
    EXPECT_EQ(seen.status.error().code(), Code::kCorrupt);
  }
}

TEST(Demux, TellsTheEnginesErrorFrame) {
  Seen seen = feed(frame(1, "a") + frame(3, "log driver failed"), 2);
  ASSERT_FALSE(seen.status.ok());
  EXPECT_EQ(seen.status.error().code(), Code::kInternal);
  EXPECT_NE(seen.status.error().message().find("log driver failed"), std::string::npos);
}

TEST(Demux, TellsACutOffFrame) {
  std::string bytes = frame(1, "whole");
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    Seen seen = feed(std::string_view(bytes).substr(0, size), 100);
    ASSERT_FALSE(seen.status.ok()) << size;
    EXPECT_EQ(seen.status.error().code(), Code::kUnavailable) << size;
  }
}

}  // namespace
}  // namespace cairn::docker
