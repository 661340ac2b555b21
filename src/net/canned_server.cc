#include "net/canned_server.h"

#include <sys/socket.h>

#include <array>
#include <filesystem>

#include "base/bytes.h"
#include "base/check.h"
#include "base/ids.h"
#include "base/strings.h"
#include "os/unix_socket.h"

namespace cairn::net {

CannedServer::CannedServer(std::vector<std::string> replies, Read read)
    : path_(std::filesystem::temp_directory_path() / ids::make("canned_")),
      replies_(std::move(replies)),
      read_(read) {
  auto listener = os::listen_unix(path_, "");
  CHECK(listener.ok());
  listener_ = std::move(*listener);
  thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
}

CannedServer::~CannedServer() {
  thread_.request_stop();
  thread_.join();
  os::remove_socket(path_);
}

std::vector<std::string> CannedServer::requests() const {
  std::scoped_lock lock(mutex_);
  return requests_;
}

void CannedServer::wait_for_request() const {
  std::unique_lock lock(mutex_);
  came_.wait(lock, [this] { return !requests_.empty(); });
}

void CannedServer::serve(const std::stop_token& stop) {
  auto patience = os::Patience::until(os::kNoDeadline, stop);
  CHECK(patience.ok());
  for (const std::string& reply : replies_) {
    auto connection = os::accept_one(listener_, *patience);
    if (!connection.ok()) return;
    if (read_ == Read::kRequest) {
      std::string request = read_request(*connection, *patience);
      std::scoped_lock lock(mutex_);
      requests_.push_back(std::move(request));
      came_.notify_all();
    }
    if (read_ == Read::kRefused) CHECK(::shutdown(connection->get(), SHUT_RD) == 0);
    bool silent = reply.ends_with(kSilence);
    std::string_view words = reply;
    if (silent) words.remove_suffix(kSilence.size());
    // The client may have gone away; the test sees that on its side.
    (void)os::send_all(*connection, as_bytes(words), *patience);
    if (silent) {
      std::array<std::byte, 1> byte{};
      (void)os::receive_some(*connection, byte, *patience);
    }
  }
}

std::string CannedServer::read_request(const os::Fd& connection,
                                       const os::Patience& patience) const {
  std::string request;
  std::array<std::byte, 4096> buffer{};
  while (true) {
    auto head_end = request.find("\r\n\r\n");
    if (head_end != std::string::npos) {
      constexpr std::string_view kLength = "Content-Length: ";
      std::size_t body_bytes = 0;
      if (auto at = request.find(kLength); at < head_end) {
        at += kLength.size();
        body_bytes = parse_uint(request.substr(at, request.find('\r', at) - at)).value_or(0);
      }
      if (request.size() >= head_end + 4 + body_bytes) return request;
    }
    auto count = os::receive_some(connection, buffer, patience);
    if (!count.ok() || *count == 0) return request;
    request += as_text(ByteView(buffer).first(*count));
  }
}

}  // namespace cairn::net
