#include "volume/exchange.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "os/fault.h"

namespace cairn::volume {

namespace {

constexpr std::uint32_t kStagingMode = 0700;
constexpr std::uint32_t kOthersMayWrite = 0002;

std::string label(const TreePair& pair) {
  return "volume " + printable(pair.volume.target);
}

}  // namespace

nlohmann::json to_json(const std::vector<TreePair>& pairs) {
  nlohmann::json out = nlohmann::json::array();
  for (const TreePair& pair : pairs) {
    out.push_back({{"index", pair.index},
                   {"target", pair.volume.target},
                   {"scope", scope_name(pair.volume.scope)},
                   {"source", pair.volume.source},
                   {"base", pair.volume.base},
                   {"relative", pair.volume.relative},
                   {"staged_in", pair.staged_in},
                   {"staged_name", pair.staged_name},
                   {"root_was_missing", pair.root_was_missing},
                   {"new_handle", pair.new_handle},
                   {"old_handle", pair.old_handle}});
    if (!pair.volume.name.empty()) out.back()["volume"] = pair.volume.name;
    if (pair.new_mtime) out.back()["new_mtime"] = to_rfc3339(*pair.new_mtime);
    if (pair.old_mtime) out.back()["old_mtime"] = to_rfc3339(*pair.old_mtime);
    if (pair.by_entries) {
      out.back()["new_tree"] = to_json(pair.new_tree);
      out.back()["old_tree"] = to_json(pair.old_tree);
    }
  }
  return out;
}

Result<std::vector<TreePair>> parse_tree_pairs(const nlohmann::json& json) {
  const Error bad(Code::kCorrupt, "a record of exchanged trees is damaged");
  if (!json.is_array()) return bad;
  std::vector<TreePair> out;
  for (const nlohmann::json& item : json) {
    TreePair pair;
    bool good = item.is_object();
    const auto text = [&item, &good](const char* key) -> std::string {
      if (!good || !item.contains(key) || !item[key].is_string()) {
        good = false;
        return {};
      }
      return item[key].get<std::string>();
    };
    pair.volume.target = text("target");
    const auto scope = parse_scope(text("scope"));
    pair.volume.source = text("source");
    pair.volume.base = text("base");
    pair.volume.relative = text("relative");
    pair.staged_in = text("staged_in");
    pair.staged_name = text("staged_name");
    pair.new_handle = text("new_handle");
    pair.old_handle = text("old_handle");
    good = good && scope.ok() && item.contains("index") && item["index"].is_number_integer() &&
           item.contains("root_was_missing") && item["root_was_missing"].is_boolean() &&
           os::check_component(pair.staged_in).ok() && os::check_component(pair.staged_name).ok();
    if (!good) return bad;
    if (item.contains("volume")) {
      pair.volume.kind = ResolvedVolume::Kind::kVolume;
      pair.volume.name = text("volume");
    }
    if (item.contains("new_mtime")) {
      TRY_ASSIGN(pair.new_mtime, parse_rfc3339(text("new_mtime")));
    }
    if (item.contains("old_mtime")) {
      TRY_ASSIGN(pair.old_mtime, parse_rfc3339(text("old_mtime")));
    }
    if (item.contains("new_tree") && item.contains("old_tree")) {
      pair.by_entries = true;
      TRY_ASSIGN(pair.new_tree, parse_moved_tree(item["new_tree"]));
      TRY_ASSIGN(pair.old_tree, parse_moved_tree(item["old_tree"]));
    }
    if (!good) return bad;
    pair.volume.scope = *scope;
    pair.index = item["index"].get<int>();
    pair.root_was_missing = item["root_was_missing"].get<bool>();
    out.push_back(std::move(pair));
  }
  return out;
}

Result<std::vector<TreePair>> pairs_of(const catalog::UndoRow& undo) {
  return parse_tree_pairs(nlohmann::json::parse(undo.volumes_json, nullptr, false));
}

Result<StagingHome> staging_home(const RootPlace& place) {
  TRY_ASSIGN(const os::Stat parent, place.parent.stat());
  TRY_ASSIGN(const std::optional<os::Stat> root, place.parent.find(place.name));
  const bool is_mount = root && root->mount_id != parent.mount_id;
  TRY_ASSIGN(os::Dir home, is_mount ? place.parent.open_dir(place.name) : place.parent.clone());
  return StagingHome{std::move(home), is_mount};
}

Result<OpenPair> open_pair(const TreePair& pair) {
  TRY_ASSIGN(RootPlace place, open_place(pair.volume));
  TRY_ASSIGN(StagingHome home, staging_home(place));
  if (home.is_root != pair.by_entries) {
    const std::string where = label(pair) + ": " + printable(pair.volume.path());
    return pair.by_entries
               ? Error(Code::kUnavailable, where + " is not mounted: mount its file system")
               : Error(Code::kConflict, where + " has become a mount point: unmount it");
  }
  TRY_ASSIGN(const os::Dir staging_root,
             home.dir.open_dir(std::string(kStagingName), os::Crossing::kRefuse));
  TRY_ASSIGN(os::Dir staging, staging_root.open_dir(pair.staged_in, os::Crossing::kRefuse));
  return OpenPair{std::move(place.parent), std::move(place.name), std::move(home.dir),
                  std::move(staging)};
}

Result<os::Dir> make_staging(const os::Dir& home, const std::string& operation) {
  TRY_ASSIGN(const os::Stat around, home.stat());
  if ((around.mode & kOthersMayWrite) != 0) {
    return Error(Code::kDenied,
                 "the directory in which Cairn would stage the volume is writable for everyone");
  }
  TRY_ASSIGN(os::Dir staging_root, home.ensure_dir(std::string(kStagingName), kStagingMode));
  TRY_ASSIGN(const os::Stat own, staging_root.stat());
  if (own.uid != 0 || own.mount_id != around.mount_id) {
    return Error(Code::kDenied, "the directory .cairn beside the volume is not Cairn's");
  }
  TRY(os::change_mode(staging_root.fd(), kStagingMode));
  TRY(home.sync());
  TRY_ASSIGN(os::Dir staging, staging_root.ensure_dir(operation, kStagingMode));
  TRY(staging_root.sync());
  return staging;
}

Result<Live> live_tree(const TreePair& pair) {
  TRY_ASSIGN(const OpenPair open, open_pair(pair));
  auto live = open.parent.handle(open.name);
  if (!live.ok()) return live.error().with_context(label(pair));
  if (live->text == pair.new_handle) return Live::kNew;
  if (live->text == pair.old_handle) return Live::kOld;
  return Error(Code::kCorrupt, label(pair) + ": the directory at " + printable(pair.volume.path()) +
                                   " is neither the old nor the new tree; somebody replaced it");
}

Status check_replaced(const TreePair& undone) {
  if (!undone.by_entries) {
    TRY_ASSIGN(const Live live, live_tree(undone));
    return live == Live::kNew ? Status()
                              : Error(Code::kCorrupt, label(undone) + ": its data is live already");
  }
  TRY_ASSIGN(const OpenPair open, open_pair(undone));
  TRY_ASSIGN(const os::Dir staged,
             open.staging.open_dir(undone.staged_name, os::Crossing::kRefuse));
  TRY_CONTEXT(check_entries(staged, undone.old_tree), label(undone));
  return {};
}

Status put_mtime(const os::Dir& dir,
                 const std::string& name,
                 const std::optional<Timespec>& mtime) {
  if (!mtime) return {};
  TRY_ASSIGN(const std::optional<os::Stat> now, dir.find(name));
  if (!now || now->mtime == *mtime) return {};
  TRY_ASSIGN(const os::Dir tree, dir.open_dir(name, os::Crossing::kRefuse));
  return os::change_mtime(tree.fd(), *mtime);
}

namespace {

Status make_entries_live(const TreePair& pair, const OpenPair& open, Live wanted) {
  if (!pair.old_tree.known()) return {};  // so nothing has moved
  TRY_ASSIGN(const os::Dir staged, open.staging.open_dir(pair.staged_name, os::Crossing::kRefuse));
  TRY_ASSIGN(const os::Handle live_root, open.home.handle());
  TRY_ASSIGN(const os::Handle staged_root, staged.handle());
  if (live_root.text != pair.old_handle || staged_root.text != pair.new_handle) {
    return Error(Code::kCorrupt, label(pair) + ": another file system is mounted at " +
                                     printable(pair.volume.path()));
  }
  const bool fresh = wanted == Live::kNew;
  TRY_CONTEXT(move_into(open.home, staged, fresh ? pair.new_tree : pair.old_tree,
                        fresh ? pair.old_tree : pair.new_tree),
              label(pair));
  return open.staging.sync();
}

}  // namespace

Status make_live(const TreePair& pair, Live wanted) {
  TRY_ASSIGN(const OpenPair open, open_pair(pair));
  if (pair.by_entries) return make_entries_live(pair, open, wanted);
  TRY_ASSIGN(const Live now, live_tree(pair));
  if (now != wanted || os::seeded(os::Bug::kBlindSecondExchange)) {
    // The staged one must be the other of the two, or the exchange would lose a tree.
    const std::string& expected = wanted == Live::kNew ? pair.new_handle : pair.old_handle;
    auto staged = open.staging.handle(pair.staged_name);
    if (!staged.ok()) return staged.error().with_context(label(pair));
    if (staged->text != expected && !os::seeded(os::Bug::kBlindSecondExchange) &&
        !os::seeded(os::Bug::kStaleHandle)) {
      return Error(Code::kCorrupt, label(pair) + ": the staged tree is not the recorded one");
    }
    TRY_CONTEXT(open.staging.exchange(pair.staged_name, open.parent, open.name), label(pair));
  }
  TRY(put_mtime(open.parent, open.name, wanted == Live::kNew ? pair.new_mtime : pair.old_mtime));
  TRY(put_mtime(open.staging, pair.staged_name,
                wanted == Live::kNew ? pair.old_mtime : pair.new_mtime));
  // Also when nothing was exchanged: a crash may have come between the exchange and its sync.
  if (os::seeded(os::Bug::kExchangeSkipsParentSync)) return {};
  TRY_CONTEXT(open.parent.sync(), label(pair));
  TRY_CONTEXT(open.staging.sync(), label(pair));
  return {};
}

Status record_live(TreePair& pair) {
  if (pair.by_entries) {
    TRY_ASSIGN(const OpenPair open, open_pair(pair));
    TRY_ASSIGN(pair.old_tree, list_moved(open.home));
    return {};
  }
  TRY_ASSIGN(const RootPlace place, open_place(pair.volume));
  TRY_ASSIGN(const os::Stat live, place.parent.stat(place.name));
  pair.old_mtime = live.mtime;
  return {};
}

Status remove_staged(const TreePair& pair, const std::string& handle) {
  auto open = open_pair(pair);
  if (!open.ok()) {
    if (open.error().code() == Code::kNotFound) return {};
    return open.error();
  }
  TRY_ASSIGN(const std::optional<os::Stat> found, open->staging.find(pair.staged_name));
  if (found) {
    auto staged = open->staging.handle(pair.staged_name);
    // An empty handle: the tree was never complete, so no record of it exists to compare with.
    if (!handle.empty() && staged.ok() && staged->text != handle) return {};
    TRY_CONTEXT(open->staging.remove_tree(pair.staged_name), label(pair));
  }
  // Directories that others still use are not empty and stay. A failure is one: the journal that
  // names what is left must not go.
  TRY_ASSIGN(const os::Dir staging_root, open->home.open_dir(std::string(kStagingName)));
  TRY_ASSIGN(const bool emptied, staging_root.remove_dir_if_empty(pair.staged_in));
  if (!emptied) return {};
  TRY(staging_root.sync());
  TRY_ASSIGN(const bool gone, open->home.remove_dir_if_empty(std::string(kStagingName)));
  return gone ? open->home.sync() : Status();
}

}  // namespace cairn::volume
