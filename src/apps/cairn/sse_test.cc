#include "apps/cairn/sse.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace cairn::cli {
namespace {

using Events = std::vector<std::pair<std::string, std::string>>;

Events parse(const std::string& text, std::size_t piece) {
  SseParser parser;
  Events events;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    (void)parser.feed(std::string_view(text).substr(at, piece),
                      [&events](std::string_view event, std::string_view data) {
                        events.emplace_back(event, data);
                        return true;
                      });
  }
  return events;
}

TEST(SseParser, GivesTheSameEventsHoweverTheBytesArrive) {
  const std::string text =
      "id: 1\nevent: progress\ndata: one\ndata: two\n\n: comment\n\nevent: done\r\ndata:{}\r\n\r\n"
      "data: unnamed\n\n";
  const Events wanted = {{"progress", "one\ntwo"}, {"done", "{}"}, {"message", "unnamed"}};
  for (std::size_t piece = 1; piece <= text.size(); ++piece) EXPECT_EQ(parse(text, piece), wanted);
}

TEST(SseParser, StopsWhenTold) {
  SseParser parser;
  int taken = 0;
  const bool more = parser.feed("data: a\n\ndata: b\n\n", [&taken](auto, auto) {
    ++taken;
    return false;
  });
  EXPECT_FALSE(more);
  EXPECT_EQ(taken, 1);
}

TEST(SseParser, KeepsAnUnfinishedEventForItself) {
  EXPECT_TRUE(parse("event: done\ndata: {}\n", 3).empty());
}

}  // namespace
}  // namespace cairn::cli
