#include "repository/snapshot.h"

#include "repository/json_reader.h"

namespace cairn::repository {

namespace {

constexpr std::string_view kProgramVersion = "cairn 0.1.0";

void append_strings(std::string& out, const std::vector<std::string>& texts) {
  out += '[';
  for (const std::string& text : texts) {
    if (out.back() != '[') out += ',';
    append_json_string(out, text);
  }
  out += ']';
}

std::vector<std::string> read_strings(JsonReader& reader) {
  std::vector<std::string> out;
  if (reader.take_null()) return out;
  for (reader.begin_array(); reader.next_element();) out.push_back(reader.string());
  return out;
}

Id read_id(JsonReader& reader) {
  const auto id = Id::parse(reader.string());
  if (!id.ok()) {
    reader.fail("an id is not 64 hex digits");
    return {};
  }
  return *id;
}

}  // namespace

std::string encode_snapshot(const SnapshotInfo& snapshot) {
  const SnapshotMeta& meta = snapshot.meta;
  std::string out = "{\"time\":\"" + to_rfc3339(meta.time) + "\"";
  if (meta.parent) out += ",\"parent\":\"" + meta.parent->hex() + "\"";
  out += ",\"tree\":\"" + snapshot.tree.hex() + "\",\"paths\":";
  append_strings(out, snapshot.paths);
  if (!meta.hostname.empty()) {
    out += ",\"hostname\":";
    append_json_string(out, meta.hostname);
  }
  if (!meta.username.empty()) {
    out += ",\"username\":";
    append_json_string(out, meta.username);
  }
  if (!meta.tags.empty()) {
    out += ",\"tags\":";
    append_strings(out, meta.tags);
  }
  if (meta.original) out += ",\"original\":\"" + meta.original->hex() + "\"";
  out += ",\"program_version\":";
  append_json_string(out, kProgramVersion);
  out += '}';
  return out;
}

Result<SnapshotInfo> parse_snapshot(const Id& id, std::string_view json) {
  JsonReader reader(json);
  SnapshotInfo out;
  out.id = id;
  std::string key;
  bool has_tree = false;
  bool has_time = false;
  for (reader.begin_object(); reader.next_key(key);) {
    if (key == "time") {
      const auto time = parse_rfc3339(reader.string());
      if (!time.ok()) reader.fail("bad time");
      out.meta.time = time.value_or({});
      has_time = true;
    } else if (key == "parent") {
      if (!reader.take_null()) out.meta.parent = read_id(reader);
    } else if (key == "original") {
      if (!reader.take_null()) out.meta.original = read_id(reader);
    } else if (key == "tree") {
      out.tree = read_id(reader);
      has_tree = true;
    } else if (key == "paths") {
      out.paths = read_strings(reader);
    } else if (key == "hostname") {
      reader.string(out.meta.hostname);
    } else if (key == "username") {
      reader.string(out.meta.username);
    } else if (key == "tags") {
      out.meta.tags = read_strings(reader);
    } else {
      reader.skip();
    }
  }
  if (!has_tree || !has_time) reader.fail("no tree or no time");
  TRY_CONTEXT(reader.finish(), "snapshot " + id.hex().substr(0, 8));
  return out;
}

}  // namespace cairn::repository
