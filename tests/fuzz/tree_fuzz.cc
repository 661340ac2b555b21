// Tree blobs and their quoted names: what parses is written and parses again, the same from then
// on, and every name that comes out is one path component.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "os/dir.h"
#include "repository/tree.h"

namespace {

using cairn::repository::encode_tree;
using cairn::repository::Node;
using cairn::repository::parse_tree;

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
  const auto nodes = parse_tree(text);
  if (nodes.ok()) {
    check_nodes(*nodes);
    const auto again = parse_tree(encode_tree(*nodes));
    CHECK(again.ok() && again->size() == nodes->size());
    // Text that was no UTF-8 is replaced once; from then on nothing changes.
    const std::string written = encode_tree(*again);
    const auto third = parse_tree(written);
    CHECK(third.ok() && encode_tree(*third) == written);
  }
  const auto name = cairn::repository::unquote_name(text);
  if (name.ok()) {
    const auto back = cairn::repository::unquote_name(cairn::repository::quote_name(*name));
    CHECK(back.ok() && *back == *name);
  }
  return 0;
}
