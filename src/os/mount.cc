#include "os/mount.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/strings.h"
#include "os/dir.h"

namespace cairn::os {

namespace {

constexpr std::size_t kMountinfoBytesMax = 64UL << 20U;

// The kernel writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto octal = [&](std::size_t k) { return text[i + k] >= '0' && text[i + k] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && octal(1) && octal(2) && octal(3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_option(std::string_view options, std::string_view wanted) {
  for (const std::string& option : split(options, ',')) {
    if (option == wanted) return true;
  }
  return false;
}

}  // namespace

Result<std::vector<MountEntry>> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> out;
  for (const std::string& line : split(text, '\n')) {
    if (line.empty()) continue;
    const auto bad = [&line] {
      return Error(Code::kCorrupt, "mountinfo line not understood: " + printable(line));
    };
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 10 || dash == fields.end() || fields.end() - dash < 2) return bad();
    const std::vector<std::string> device = split(fields[2], ':');
    if (device.size() != 2) return bad();
    const auto id = parse_uint(fields[0]);
    const auto major = parse_uint(device[0]);
    const auto minor = parse_uint(device[1]);
    if (!id || !major || !minor) return bad();
    out.push_back({.mount_id = *id,
                   .device_major = static_cast<std::uint32_t>(*major),
                   .device_minor = static_cast<std::uint32_t>(*minor),
                   .root = unescape(fields[3]),
                   .mount_point = unescape(fields[4]),
                   .read_only = has_option(fields[5], "ro") ||
                                (fields.end() - dash > 3 && has_option(*(dash + 3), "ro")),
                   .file_system = *(dash + 1)});
  }
  return out;
}

Result<std::vector<MountEntry>> own_mounts() {
  TRY_ASSIGN(const Dir self, Dir::open("/proc/self"));
  TRY_ASSIGN(const std::string text, self.read_file("mountinfo", kMountinfoBytesMax));
  return parse_mountinfo(text);
}

Result<std::vector<MountNamespace>> all_mount_namespaces() {
  TRY_ASSIGN(const Dir proc, Dir::open("/proc"));
  TRY_ASSIGN(const std::vector<Entry> entries, proc.list());
  std::vector<MountNamespace> out;
  std::set<std::uint64_t> seen;
  const auto gone = [](const Error& error) {
    return error.os_errno() == ENOENT || error.os_errno() == ESRCH || error.os_errno() == EINVAL;
  };
  for (const Entry& entry : entries) {
    const auto pid = parse_uint(entry.name);
    if (!pid) continue;
    struct stat raw{};
    const std::string base = "/proc/" + entry.name;
    // Kernel threads have no namespace to look at; a process may end at any line here.
    if (::stat((base + "/ns/mnt").c_str(), &raw) != 0) continue;
    if (seen.contains(raw.st_ino)) continue;
    auto dir = Dir::open(base);
    if (!dir.ok()) {
      if (gone(dir.error())) continue;
      return dir.error();
    }
    auto text = dir->read_file("mountinfo", kMountinfoBytesMax);
    if (!text.ok()) {
      if (gone(text.error())) continue;
      return text.error().with_context(base);
    }
    if (text->empty()) continue;  // a zombie
    TRY_ASSIGN(std::vector<MountEntry> mounts, parse_mountinfo(*text));
    const auto command = dir->read_file("comm", 256);
    seen.insert(raw.st_ino);
    out.push_back({.id = raw.st_ino,
                   .pid = static_cast<pid_t>(*pid),
                   .command = command.ok() ? std::string(trim(*command)) : "?",
                   .mounts = std::move(mounts)});
  }
  return out;
}

bool is_at_or_below(std::string_view path, std::string_view base) {
  if (base == "/") return path.starts_with('/');
  if (!path.starts_with(base)) return false;
  return path.size() == base.size() || path[base.size()] == '/';
}

Result<FileSystemPlace> place_of(const std::vector<MountEntry>& mounts, const std::string& path) {
  const MountEntry* best = nullptr;
  for (const MountEntry& mount : mounts) {
    // Later lines are mounted over earlier ones at the same place.
    if (is_at_or_below(path, mount.mount_point) &&
        (best == nullptr || mount.mount_point.size() >= best->mount_point.size())) {
      best = &mount;
    }
  }
  if (best == nullptr) return Error(Code::kNotFound, "no mount contains " + printable(path));
  std::string rest = best->mount_point == "/" ? path : path.substr(best->mount_point.size());
  if (rest == "/") rest.clear();
  std::string inside = (best->root == "/" ? "" : best->root) + rest;
  return FileSystemPlace{.mount_id = best->mount_id,
                         .device_major = best->device_major,
                         .device_minor = best->device_minor,
                         .path = inside.empty() ? "/" : std::move(inside)};
}

}  // namespace cairn::os
