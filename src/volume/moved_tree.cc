#include "volume/moved_tree.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "codec/hash.h"
#include "repository/entry.h"
#include "repository/node_writer.h"
#include "repository/tree.h"
#include "volume/exchange.h"

namespace cairn::volume {

namespace {

constexpr std::string_view kLostAndFound = "lost+found";

Result<std::optional<std::string>> handle_in(const os::Dir& dir, const std::string& name) {
  const auto fd = dir.open_path(name);
  if (!fd.ok() && fd.error().code() == Code::kNotFound) return std::optional<std::string>();
  if (!fd.ok()) return fd.error();
  TRY_ASSIGN(const os::Stat entry, os::stat_fd(*fd));
  TRY_ASSIGN(const os::Stat around, dir.stat());
  if (entry.mount_id != around.mount_id) {
    return Error(Code::kConflict, printable(name) + " is a mount point");
  }
  TRY_ASSIGN(os::Handle handle, os::handle_of(*fd, dir.fd()));
  return std::optional(std::move(handle.text));
}

// One entry of wanted comes into root, and what has its name there goes aside.
Status bring_in(const os::Dir& root, const os::Dir& aside, const MovedEntry& entry) {
  TRY_ASSIGN(const std::optional<std::string> live, handle_in(root, entry.name));
  if (live != entry.handle) {
    TRY_ASSIGN(const std::optional<std::string> there, handle_in(aside, entry.name));
    if (there != entry.handle) {
      return Error(Code::kCorrupt, printable(entry.name) +
                                       " is neither live nor where it was put; somebody moved it");
    }
    TRY(live ? aside.exchange(entry.name, root, entry.name)
             : aside.rename_to(entry.name, root, entry.name));
  }
  return put_mtime(root, entry.name, entry.mtime);
}

// Everything of root that is not wanted there goes aside.
Status send_away(const os::Dir& root, const os::Dir& aside, const MovedTree& wanted) {
  TRY_ASSIGN(const std::vector<os::Entry> entries, root.list());
  for (const os::Entry& entry : entries) {
    if (stays_at_mount(entry.name)) continue;
    if (std::ranges::binary_search(wanted.entries, entry.name, {}, &MovedEntry::name)) continue;
    TRY(root.rename_to(entry.name, aside, entry.name));
  }
  return {};
}

Status write_root(const os::Dir& dir, const MovedTree& tree) {
  TRY_ASSIGN(std::vector<repository::Node> nodes, repository::parse_tree(tree.root));
  repository::Node& node = nodes.at(0);
  TRY_ASSIGN(const std::optional<os::Xattr> label, repository::label_of(dir));
  repository::set_label(node, label);
  TRY_ASSIGN(const std::vector<os::Xattr> now, os::list_xattrs(dir.fd()));
  for (const os::Xattr& xattr : now) {
    const bool stays =
        std::ranges::find(node.xattrs, xattr.name, &os::Xattr::name) != node.xattrs.end();
    if (!stays) TRY(os::remove_xattr(dir.fd(), xattr.name));
  }
  return repository::write_metadata(dir.fd(), node);
}

}  // namespace

nlohmann::json to_json(const MovedTree& tree) {
  nlohmann::json entries = nlohmann::json::array();
  for (const MovedEntry& entry : tree.entries) {
    // Quoted: names are bytes, JSON is text.
    entries.push_back({{"name", repository::quote_name(entry.name)}, {"handle", entry.handle}});
    if (entry.mtime) entries.back()["mtime"] = to_rfc3339(*entry.mtime);
  }
  return {{"root", tree.root}, {"entries", std::move(entries)}};
}

Result<MovedTree> parse_moved_tree(const nlohmann::json& json) {
  const Error bad(Code::kCorrupt, "a record of moved entries is damaged");
  const auto has_text = [](const nlohmann::json& item, const char* key) {
    return item.is_object() && item.contains(key) && item[key].is_string();
  };
  if (!has_text(json, "root") || !json.contains("entries") || !json["entries"].is_array()) {
    return bad;
  }
  MovedTree out;
  out.root = json["root"];
  if (out.known()) {
    TRY_ASSIGN(const std::vector<repository::Node> nodes, repository::parse_tree(out.root));
    if (nodes.size() != 1) return bad;
  }
  for (const nlohmann::json& item : json["entries"]) {
    if (!has_text(item, "name") || !has_text(item, "handle")) return bad;
    MovedEntry entry;
    TRY_ASSIGN(entry.name, repository::unquote_name(item["name"].get<std::string>()));
    TRY(os::check_component(entry.name));
    entry.handle = item["handle"];
    if (has_text(item, "mtime")) {
      TRY_ASSIGN(entry.mtime, parse_rfc3339(item["mtime"].get<std::string>()));
    }
    out.entries.push_back(std::move(entry));
  }
  if (!std::ranges::is_sorted(out.entries, {}, &MovedEntry::name)) return bad;
  return out;
}

bool stays_at_mount(std::string_view name) {
  return name == kStagingName || name == kLostAndFound;
}

Result<MovedTree> list_moved(const os::Dir& dir) {
  MovedTree out;
  TRY_ASSIGN(const std::vector<os::Entry> entries, dir.list());
  for (const os::Entry& entry : entries) {
    if (stays_at_mount(entry.name)) continue;
    if (out.entries.size() == kMovedEntriesMax) {
      return Error(Code::kInvalid,
                   "the volume's root is a mount point, whose entries are moved one by one, and it "
                   "has more than " +
                       std::to_string(kMovedEntriesMax));
    }
    TRY_ASSIGN(std::optional<std::string> handle, handle_in(dir, entry.name));
    TRY_ASSIGN(const std::optional<os::Stat> stat, dir.find(entry.name));
    if (!handle || !stat) continue;  // of a workload that still runs: a plan only counts
    MovedEntry moved{.name = entry.name, .handle = std::move(*handle), .mtime = {}};
    if (stat->type == os::FileType::kDirectory) moved.mtime = stat->mtime;
    out.entries.push_back(std::move(moved));
  }
  std::ranges::sort(out.entries, {}, &MovedEntry::name);
  TRY_ASSIGN(const os::Stat stat, dir.stat());
  repository::Node node;
  node.name = "root";
  repository::set_metadata(node, stat, repository::kDeviceIdBase);
  node.subtree = codec::sha256({});
  std::size_t lost = 0;
  TRY_ASSIGN(node.xattrs, repository::read_xattrs(dir.fd(), lost));
  out.root = repository::encode_tree({&node, 1});
  if (to_json(out).dump().size() > kMovedTreeBytesMax) {
    return Error(
        Code::kInvalid,
        "the volume's root is a mount point, whose entries are moved one by one, and their "
        "names, with its own extended attributes, are too long for the journal");
  }
  return out;
}

Status check_entries(const os::Dir& dir, const MovedTree& tree) {
  for (const MovedEntry& entry : tree.entries) {
    TRY_ASSIGN(const std::optional<std::string> there, handle_in(dir, entry.name));
    if (there != entry.handle) {
      return Error(Code::kCorrupt, printable(entry.name) + " is not where it was put");
    }
  }
  return {};
}

Status move_into(const os::Dir& root,
                 const os::Dir& aside,
                 const MovedTree& wanted,
                 const MovedTree& other) {
  for (const MovedEntry& entry : wanted.entries) TRY(bring_in(root, aside, entry));
  TRY(send_away(root, aside, wanted));
  for (const MovedEntry& entry : other.entries) {
    TRY_ASSIGN(const std::optional<std::string> there, handle_in(aside, entry.name));
    if (there == entry.handle) TRY(put_mtime(aside, entry.name, entry.mtime));
  }
  TRY(write_root(root, wanted));
  TRY(write_root(aside, other));
  TRY(root.sync());
  return aside.sync();
}

}  // namespace cairn::volume
