// For tests: an HTTP server on a Unix socket that gives fixed replies, one connection each, in
// order. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "os/fd.h"
#include "os/socket.h"

namespace cairn::net {

class CannedServer {
 public:
  // At the end of a reply: the connection stays open and says nothing more until the client goes
  // away.
  static constexpr std::string_view kSilence = "(silence)";
  enum class Read { kRequest, kNothing, kRefused };  // kRefused: sending fails, too

  explicit CannedServer(std::vector<std::string> replies, Read read = Read::kRequest);
  ~CannedServer();

  [[nodiscard]] const std::string& path() const { return path_; }
  // The requests that came, whole.
  [[nodiscard]] std::vector<std::string> requests() const;
  // Returns when at least one came.
  void wait_for_request() const;

 private:
  void serve(const std::stop_token& stop);
  std::string read_request(const os::Fd& connection, const os::Patience& patience) const;

  const std::string path_;
  const std::vector<std::string> replies_;
  const Read read_;
  os::Fd listener_;
  mutable std::mutex mutex_;
  mutable std::condition_variable came_;
  std::vector<std::string> requests_;  // guarded
  std::jthread thread_;                // last: it uses everything above
};

}  // namespace cairn::net
