// Probes against a listener on loopback that gives one canned answer.
#include "workload/probe.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace cairn::workload {
namespace {

constexpr std::int64_t kLongMs = 10'000;

class Listener {
 public:
  explicit Listener(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 1), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    target_ = {.address = "127.0.0.1", .port = ntohs(address.sin_port)};
    thread_ = std::jthread([this] { serve(); });
  }
  ~Listener() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  [[nodiscard]] const ProbeTarget& target() const { return target_; }

 private:
  void serve() {
    const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer < 0) return;
    std::array<char, 4096> request{};
    static_cast<void>(::recv(peer, request.data(), request.size(), 0));
    static_cast<void>(::send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL));
    ::close(peer);
  }
  std::string answer_;
  int fd_ = -1;
  ProbeTarget target_;
  std::jthread thread_;
};

TEST(Probe, ReadsTheStatusOfTheAnswer) {
  const Listener ok("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(probe_http(ok.target(), "/", kLongMs, {}).value(), 204);
  const Listener bad("HTTP/1.0 503 Busy\r\n\r\n");
  EXPECT_EQ(probe_http(bad.target(), "/healthz", kLongMs, {}).value(), 503);
}

TEST(Probe, RefusesWhatIsNotHttp) {
  for (const char* answer :
       {"SSH-2.0-x\r\n", "HTTP/1.1 abc\r\n", "HTTP/1.1\r\n", "HTTP/1.1 999\n"}) {
    const Listener listener(answer);
    EXPECT_EQ(probe_http(listener.target(), "/", kLongMs, {}).error().code(), Code::kInvalid);
  }
  const Listener endless(std::string(100'000, 'a'));
  EXPECT_FALSE(probe_http(endless.target(), "/", kLongMs, {}).ok());
  const Listener silent("");
  EXPECT_EQ(probe_http(silent.target(), "/", kLongMs, {}).error().code(), Code::kUnavailable);
}

TEST(Probe, SaysWhenNobodyListensOrSomebodyCancels) {
  ProbeTarget closed;
  {
    const Listener listener("");
    closed = listener.target();
    EXPECT_TRUE(probe_tcp(closed, kLongMs, {}).ok());
  }
  EXPECT_EQ(probe_tcp(closed, kLongMs, {}).error().code(), Code::kUnavailable);
  EXPECT_EQ(probe_tcp({.address = "localhost", .port = 1}, kLongMs, {}).error().code(),
            Code::kInvalid);
}

}  // namespace
}  // namespace cairn::workload
