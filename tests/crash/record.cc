#include "record.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "inject.h"

namespace cairn::crash {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCopyBytes = 256 * 1024;

std::string hex(const unsigned char* bytes, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

enum class Follow : std::uint8_t { kNo, kYes };

// "dev:handle", or "dev:number" where the file system has no handles; empty when absent.
std::string identity(const std::string& path, Follow follow) {
  const int extra = follow == Follow::kYes ? 0 : O_NOFOLLOW;
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC | extra);
  if (fd < 0) return {};
  struct stat status{};
  std::string key;
  if (fstat(fd, &status) == 0) {
    alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + MAX_HANDLE_SZ> space{};
    auto* handle = reinterpret_cast<file_handle*>(space.data());
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount = 0;
    key = std::to_string(status.st_dev) + ":";
    if (name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH) == 0) {
      key += hex(handle->f_handle, handle->handle_bytes);
    } else {
      key += std::to_string(status.st_ino);
    }
  }
  close(fd);
  return key;
}

const char* kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "dir";
  if (S_ISLNK(mode)) return "symlink";
  return "other";
}

// Whether the call acts on what a last symbolic link points to.
Follow follows(const Call& call) {
  switch (call.spec->number) {
    case SYS_truncate:
    case SYS_chmod:
    case SYS_chown:
    case SYS_fchmodat:
    case SYS_utime:
    case SYS_utimes:
    case SYS_utimensat:
    case SYS_setxattr:
    case SYS_removexattr:
      return Follow::kYes;
    default:
      return Follow::kNo;
  }
}

JsonLine event(const char* op, std::uint64_t number) {
  JsonLine line;
  line.field("n", static_cast<std::int64_t>(number));
  line.field("op", op);
  return line;
}

void add_status(JsonLine& line, const struct stat& status) {
  line.field("kind", kind_of(status.st_mode));
  line.field("mode", static_cast<std::int64_t>(status.st_mode & 07777));
  line.field("uid", static_cast<std::int64_t>(status.st_uid));
  line.field("gid", static_cast<std::int64_t>(status.st_gid));
  line.field("mtime_ns", status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
}

int create_file(const std::string& path) {
  return open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
}

std::int64_t data_offset(pid_t tid, const Call& call, int fd, std::int64_t result) {
  const long number = call.spec->number;
  const auto fourth = static_cast<std::int64_t>(call.args[3]);
  if (number == SYS_pwrite64 || number == SYS_pwritev) return fourth;
  if (number == SYS_pwritev2 && fourth != -1) return fourth;
  if (call.spec->shape == Shape::kFd2 && call.args[3] != 0) {
    std::int64_t offset = 0;  // already moved past what was written
    if (read_memory(tid, call.args[3], &offset, sizeof offset) != sizeof offset) return -1;
    return offset - result;
  }
  const std::int64_t position = file_position(tid, fd);
  return position < 0 ? -1 : position - result;
}

}  // namespace

bool is_below(const std::string& path, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&path](const std::string& prefix) {
    if (!path.starts_with(prefix)) return false;
    return path.size() == prefix.size() || prefix.ends_with('/') || path[prefix.size()] == '/';
  });
}

Recorder::Recorder(const std::string& directory, const std::vector<std::string>& roots)
    : roots_(roots) {
  std::error_code ignored;
  fs::create_directories(directory, ignored);
  events_fd_ = create_file(directory + "/start.jsonl");
  if (events_fd_ >= 0) {
    for (const std::string& root : roots_) {
      // The prefixes may hold sockets, whose traffic counts.
      if (fs::is_directory(root, ignored)) inventory(root);
    }
    close(events_fd_);
  }
  events_fd_ = create_file(directory + "/events.jsonl");
  data_fd_ = create_file(directory + "/data");
  if (events_fd_ < 0 || data_fd_ < 0) error_ = directory + ": " + std::strerror(errno);
}

Recorder::~Recorder() {
  if (events_fd_ >= 0) close(events_fd_);
  if (data_fd_ >= 0) close(data_fd_);
}

void Recorder::write_event(JsonLine& line) {
  const std::string text = line.finish();
  if (write(events_fd_, text.data(), text.size()) < 0) std::perror("cairn_tracer: record");
}

void Recorder::inventory(const std::string& root) {
  const auto add = [this](const std::string& path) {
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) return;
    JsonLine line;
    line.field("path", path);
    line.field("ino", identity(path, Follow::kNo));
    add_status(line, status);
    if (S_ISLNK(status.st_mode)) line.field("target", link_text(path));
    write_event(line);
  };
  add(root);
  std::error_code error;
  for (fs::recursive_directory_iterator it(root, error), end; !error && it != end;
       it.increment(error)) {
    add(it->path().string());
  }
}

RecordedCall Recorder::before(const Call& call) const {
  RecordedCall seen;
  // What was said before a cut is what the cut must not take back.
  const bool socket = call.target == Target::kSocket;
  const bool output = call.spec->kind == Class::kData && call.target == Target::kOther &&
                      call.args[0] == STDOUT_FILENO;
  const bool said = socket || output;
  const bool whole_system = call.spec->number == SYS_sync || call.spec->number == SYS_syncfs;
  const bool below =
      call.target == Target::kFile &&
      std::any_of(call.places.begin(), call.places.end(),
                  [this](const Place& place) { return is_below(place.path, roots_); });
  seen.wanted = whole_system || below || said;
  if (!seen.wanted || said) return seen;
  for (const Place& place : call.places) {
    seen.parents.push_back(place.is_fd ? "" : identity(place.link, Follow::kYes));
    seen.children.push_back(identity(place.reach(), place.is_fd ? Follow::kYes : follows(call)));
  }
  seen.existed = !seen.children.empty() && !seen.children[0].empty();
  return seen;
}

void Recorder::after(pid_t tid,
                     const Call& call,
                     const RecordedCall& seen,
                     std::int64_t result,
                     std::uint64_t number) {
  if (call.spec->kind == Class::kMap ? result > -4096 && result < 0 : result < 0) return;
  if (call.target != Target::kFile && call.spec->kind != Class::kMap) {
    return record_said(tid, call, result, number);
  }
  switch (call.spec->kind) {
    case Class::kOpen:
      return record_open(tid, call, seen, result, number);
    case Class::kData:
      return record_data(tid, call, seen, result, number);
    case Class::kSync:
      return record_sync(call, seen, number);
    case Class::kMap: {
      if (call.places.empty() || call.places[0].path.ends_with("-shm")) return;
      JsonLine line = event("unsupported", number);
      line.field("what", "mmap");
      line.field("path", call.places[0].path);
      return write_event(line);
    }
    case Class::kMeta:
      break;
    case Class::kNet:
      return;
  }
  switch (call.spec->number) {
    case SYS_ftruncate:
    case SYS_truncate:
    case SYS_fallocate:
    case SYS_setxattr:
    case SYS_lsetxattr:
    case SYS_fsetxattr:
    case SYS_removexattr:
    case SYS_lremovexattr:
    case SYS_fremovexattr: {
      JsonLine line = event(call.spec->name, number);
      line.field("ino", seen.children[0]);
      if (call.spec->number == SYS_fallocate) {
        line.field("mode", static_cast<std::int64_t>(call.args[1]));
        line.field("offset", static_cast<std::int64_t>(call.args[2]));
      }
      if (call.length >= 0) line.field("len", call.length);
      if (std::strstr(call.spec->name, "xattr") != nullptr) {
        line.field("name", read_string(tid, call.args[1]).value_or(""));
        std::string value(call.length > 0 ? static_cast<std::size_t>(call.length) : 0, '\0');
        read_memory(tid, call.args[2], value.data(), value.size());
        line.field("value", value);
      }
      return write_event(line);
    }
    case SYS_ioctl:
      return record_data(tid, call, seen, result, number);
    default:
      break;
  }
  if (call.spec->shape == Shape::kFd || std::strstr(call.spec->name, "chmod") != nullptr ||
      std::strstr(call.spec->name, "chown") != nullptr ||
      std::strstr(call.spec->name, "utime") != nullptr) {
    return record_state(call, seen, number);
  }
  record_names(tid, call, seen, number);
}

void Recorder::record_said(pid_t tid, const Call& call, std::int64_t result, std::uint64_t number) {
  const bool socket = call.target == Target::kSocket;
  JsonLine line = event(socket ? "send" : "output", number);
  if (socket) {
    line.field("path", call.places[0].path);
    line.field("len", result);
  } else {
    std::string text(std::min<std::size_t>(static_cast<std::size_t>(result), kCopyBytes), '\0');
    if (call.spec->number == SYS_write) read_memory(tid, call.args[1], text.data(), text.size());
    line.field("text", text);
  }
  write_event(line);
}

void Recorder::record_open(pid_t tid,
                           const Call& call,
                           const RecordedCall& seen,
                           std::int64_t result,
                           std::uint64_t number) {
  const std::string link = fd_link(tid, static_cast<int>(result));
  const bool unnamed = (call.flags & O_TMPFILE) == O_TMPFILE;
  if (seen.existed && !unnamed) {
    if ((call.flags & O_TRUNC) == 0) return;
    JsonLine line = event("ftruncate", number);
    line.field("ino", identity(link, Follow::kYes));
    line.field("len", 0);
    return write_event(line);
  }
  struct stat status{};
  if (stat(link.c_str(), &status) != 0) return;
  JsonLine line = event(unnamed ? "tmpfile" : "create", number);
  if (!unnamed) {
    line.field("parent", seen.parents[0]);
    line.field("name", call.places[0].name);
  }
  line.field("ino", identity(link, Follow::kYes));
  add_status(line, status);
  write_event(line);
}

void Recorder::record_data(pid_t tid,
                           const Call& call,
                           const RecordedCall& seen,
                           std::int64_t result,
                           std::uint64_t number) {
  const bool clone = call.spec->number == SYS_ioctl;
  if (clone && call.args[1] != FICLONE && call.args[1] != FICLONERANGE) return;
  const int fd = static_cast<int>(call.args[call.spec->shape == Shape::kFd2 ? 2 : 0]);
  const std::string link = fd_link(tid, fd);
  struct stat status{};
  if (stat(link.c_str(), &status) != 0) return;
  const std::int64_t offset = clone ? 0 : data_offset(tid, call, fd, result);
  const std::int64_t wanted = clone ? status.st_size : result;
  if (wanted == 0) return;

  // Read back from the page cache: one way for every kind of write.
  const int source = open(link.c_str(), O_RDONLY | O_CLOEXEC);
  std::int64_t copied = 0;
  std::vector<char> buffer(std::min<std::size_t>(kCopyBytes, static_cast<std::size_t>(wanted)));
  while (source >= 0 && offset >= 0 && copied < wanted) {
    const std::size_t size = std::min(buffer.size(), static_cast<std::size_t>(wanted - copied));
    const ssize_t got = pread(source, buffer.data(), size, offset + copied);
    if (got <= 0 || write(data_fd_, buffer.data(), static_cast<std::size_t>(got)) != got) break;
    copied += got;
  }
  if (source >= 0) close(source);
  JsonLine line = event(copied == wanted ? "write" : "unsupported", number);
  if (copied != wanted) line.field("what", "data could not be read back");
  line.field("ino", seen.children[0]);
  line.field("path", call.places[0].path);
  line.field("offset", offset);
  line.field("len", copied);
  line.field("data", data_size_);
  data_size_ += copied;
  write_event(line);
}

void Recorder::record_state(const Call& call, const RecordedCall& seen, std::uint64_t number) {
  struct stat status{};
  const std::string path = call.places[0].reach();
  const bool follow = call.places[0].is_fd || follows(call) == Follow::kYes;
  if ((follow ? stat(path.c_str(), &status) : lstat(path.c_str(), &status)) != 0) return;
  JsonLine line = event("attr", number);
  line.field("ino", seen.children[0]);
  add_status(line, status);
  write_event(line);
}

void Recorder::record_names(pid_t tid,
                            const Call& call,
                            const RecordedCall& seen,
                            std::uint64_t number) {
  const Place& first = call.places[0];
  const bool two = call.places.size() == 2;
  const std::string name = call.spec->name;
  if (two && name.starts_with("rename")) {
    const bool exchange = (call.flags & RENAME_EXCHANGE) != 0;
    JsonLine line = event(exchange ? "exchange" : "rename", number);
    line.field("parent", seen.parents[0]);
    line.field("name", first.name);
    line.field("ino", seen.children[0]);
    line.field("to_parent", seen.parents[1]);
    line.field("to_name", call.places[1].name);
    line.field("other", seen.children[1]);
    return write_event(line);
  }
  if (name.starts_with("unlink") || name == "rmdir") {
    JsonLine line = event("unlink", number);
    line.field("parent", seen.parents[0]);
    line.field("name", first.name);
    line.field("ino", seen.children[0]);
    return write_event(line);
  }
  if (two && name.starts_with("link")) {
    JsonLine line = event("link", number);
    line.field("parent", seen.parents[1]);
    line.field("name", call.places[1].name);
    line.field("ino", seen.children[0]);
    return write_event(line);
  }
  struct stat status{};
  const bool makes =
      name.starts_with("mkdir") || name.starts_with("mknod") || name.starts_with("symlink");
  if (!makes || lstat(first.reach().c_str(), &status) != 0) {
    JsonLine line = event("unsupported", number);
    line.field("what", name);
    line.field("path", first.path);
    return write_event(line);
  }
  JsonLine line = event("create", number);
  line.field("parent", seen.parents[0]);
  line.field("name", first.name);
  line.field("ino", identity(first.reach(), Follow::kNo));
  add_status(line, status);
  if (S_ISLNK(status.st_mode)) {
    const std::uint64_t text = call.args[0];
    line.field("target", read_string(tid, text).value_or(""));
  }
  write_event(line);
}

void Recorder::record_sync(const Call& call, const RecordedCall& seen, std::uint64_t number) {
  if (call.spec->number == SYS_sync_file_range) return;  // promises nothing about durability
  JsonLine line = event(call.spec->name, number);
  if (!seen.children.empty()) line.field("ino", seen.children[0]);
  write_event(line);
}

}  // namespace cairn::crash
