// The parsers of an HTTP server's bytes: a reply cut in two at any place reads the same as in one
// piece, and what follows it as an engine's stream never crashes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/progress.h"
#include "docker/demux.h"
#include "docker/pull.h"
#include "net/http.h"

namespace {

struct Outcome {
  bool ok = true;
  bool done = false;
  std::string body;
  bool operator==(const Outcome&) const = default;
};

Outcome read_body(const cairn::net::Response& head, std::string_view bytes, std::size_t cut) {
  Outcome outcome;
  auto reader = cairn::net::BodyReader::for_response(head, "GET");
  if (!reader.ok()) return {.ok = false, .done = false, .body = {}};
  auto keep = [&outcome](std::string_view part) {
    outcome.body += part;
    return true;
  };
  for (std::string_view piece : {bytes.substr(0, cut), bytes.substr(cut)}) {
    outcome.ok = outcome.ok && reader->feed(piece, keep).ok();
  }
  outcome.ok = outcome.ok && reader->end().ok();
  outcome.done = reader->done();
  return outcome;
}

void read_streams(std::string_view bytes) {
  cairn::docker::Demux demux;
  std::size_t seen = 0;
  if (demux
          .feed(bytes,
                [&seen](cairn::docker::Stream, std::string_view part) {
                  seen += part.size();
                  return true;
                })
          .ok()) {
    CHECK(seen <= bytes.size());
  }
  cairn::NoProgress nobody;
  cairn::docker::PullReader pull(nobody);
  if (pull.feed(bytes).ok()) (void)pull.end().ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto head = cairn::net::parse_response_head(bytes);
  if (!head.ok() || !head->has_value()) {
    read_streams(bytes);
    return 0;
  }
  const cairn::net::Response& response = (*head)->response;
  CHECK((*head)->size_bytes <= size);
  CHECK(response.status >= 100 && response.status < 600);
  for (const cairn::net::Header& header : response.headers) {
    CHECK(header.value.find_first_of("\r\n") == std::string::npos);
  }
  // The bytes before the head's end are never a whole head.
  auto shorter = cairn::net::parse_response_head(bytes.substr(0, (*head)->size_bytes - 1));
  CHECK(shorter.ok() && !shorter->has_value());

  std::string_view rest = bytes.substr((*head)->size_bytes);
  Outcome whole = read_body(response, rest, 0);
  Outcome halves = read_body(response, rest, rest.size() / 2);
  CHECK(whole.ok == halves.ok);
  if (whole.ok) CHECK(whole == halves);
  read_streams(whole.body);
  return 0;
}
