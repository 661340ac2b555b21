// What a pull or an import says while it runs: one JSON object a line, the last word in it. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"
#include "docker/types.h"

namespace cairn::docker {

inline constexpr std::size_t kPullLineBytesMax = 1024 * 1024;
inline constexpr std::size_t kPullLayersMax = 4096;

// The value of X-Registry-Auth: JSON in base64url with padding (RFC 4648, 5).
std::string format_auth(const RegistryAuth& auth);

// What the words of a failed pull mean: the engine tells a missing image, a refused login and an
// unreachable registry by text only.
Code code_of_pull(std::string_view message);

// One thread at a time.
class PullReader {
 public:
  explicit PullReader(Progress& progress) : progress_(progress) {}
  // The failure that the engine reports inside the stream, or kCorrupt.
  Status feed(std::string_view bytes);
  // The last line may lack its end.
  Status end();

 private:
  struct Layer {
    std::uint64_t done = 0;
    std::uint64_t total = 0;
  };
  Status line();
  void count();

  Progress& progress_;
  std::string line_;
  std::map<std::string, Layer> layers_;
};

}  // namespace cairn::docker
