// Sockets with deadlines and stop requests.
#include "os/socket.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "base/clock.h"

namespace cairn::os {
namespace {

Patience patience_of(int ms, std::stop_token stop = {}) {
  return Patience::until(monotonic_ms() + ms, std::move(stop)).value();
}

TEST(Socket, CarriesMoreThanItsBuffer) {
  auto pair = socket_pair();
  ASSERT_TRUE(pair.ok());
  auto& [near_end, far_end] = *pair;
  const std::string sent(4 << 20, 'x');
  std::jthread sender([&near = near_end, &sent] {
    Patience patience = patience_of(30'000);
    EXPECT_TRUE(send_all(near, as_bytes(sent), patience).ok());
    EXPECT_TRUE(shut_down_sending(near).ok());
  });
  std::string received;
  std::array<std::byte, 10'000> buffer{};
  Patience patience = patience_of(30'000);
  while (true) {
    auto count = receive_some(far_end, buffer, patience);
    ASSERT_TRUE(count.ok());
    if (*count == 0) break;
    received += as_text(ByteView(buffer).first(*count));
  }
  EXPECT_EQ(received, sent);
}

TEST(Socket, APeerThatWentAwayRaisesNoSignal) {
  auto pair = socket_pair();
  ASSERT_TRUE(pair.ok());
  pair->second.reset();
  Status sent = send_all(pair->first, as_bytes("x"), patience_of(1000));
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code(), Code::kUnavailable);
}

TEST(Socket, ADeadlineEndsAReadAndAWrite) {
  auto pair = socket_pair();
  ASSERT_TRUE(pair.ok());
  std::array<std::byte, 1> buffer{};
  auto read = receive_some(pair->first, buffer, patience_of(10));
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code(), Code::kUnavailable);
  Status written = send_all(pair->first, as_bytes(std::string(8 << 20, 'x')), patience_of(10));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code(), Code::kUnavailable);
}

TEST(Socket, AStopRequestEndsARead) {
  auto pair = socket_pair();
  ASSERT_TRUE(pair.ok());
  std::stop_source source;
  Patience patience = Patience::until(kNoDeadline, source.get_token()).value();
  std::jthread stopper([&source] { source.request_stop(); });
  std::array<std::byte, 1> buffer{};
  auto read = receive_some(pair->first, buffer, patience);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code(), Code::kCancelled);
}

TEST(Socket, ANapEndsAtTheDeadline) {
  EXPECT_TRUE(patience_of(60'000).nap(1).ok());
  Status cut_short = patience_of(1).nap(60'000);
  ASSERT_FALSE(cut_short.ok());
  EXPECT_EQ(cut_short.error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace cairn::os
