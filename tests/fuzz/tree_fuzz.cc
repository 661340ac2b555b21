// Tree blobs and their quoted names: what parses is written and parses to the same again, and every
// name that comes out is one path component.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "os/dir.h"
#include "repository/tree.h"

namespace {

using cairn::repository::Node;

void check_nodes(const std::vector<Node>& nodes) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    CHECK(cairn::os::check_component(nodes[i].name).ok());
    CHECK(i == 0 || nodes[i - 1].name < nodes[i].name);
    CHECK(nodes[i].link_target.find('\0') == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto nodes = cairn::repository::parse_tree(text);
  if (nodes.ok()) {
    check_nodes(*nodes);
    const std::string written = cairn::repository::encode_tree(*nodes);
    const auto again = cairn::repository::parse_tree(written);
    CHECK(again.ok());
    CHECK(cairn::repository::encode_tree(*again) == written);
  }
  const auto name = cairn::repository::unquote_name(text);
  if (name.ok()) {
    const auto back = cairn::repository::unquote_name(cairn::repository::quote_name(*name));
    CHECK(back.ok() && *back == *name);
  }
  return 0;
}
