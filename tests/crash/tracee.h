// Reading a stopped thread: its memory, descriptors, and the places its calls name.
// One thread at a time (the tracing thread). Every answer is a snapshot taken during a stop.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calls.h"

namespace cairn::crash {

// The six arguments of a system call.
using Arguments = std::array<std::uint64_t, 6>;

Arguments arguments_of(const user_regs_struct& registers);

// Copies up to `size` bytes; returns how many could be read.
std::size_t read_memory(pid_t tid, std::uint64_t address, void* buffer, std::size_t size);
// A NUL-ended string of at most PATH_MAX bytes; nothing when unreadable.
std::optional<std::string> read_string(pid_t tid, std::uint64_t address);
bool write_memory(pid_t tid, std::uint64_t address, const void* buffer, std::size_t size);

// "/proc/TID/fd/N": usable by the tracer to stat or open what the tracee has open.
std::string fd_link(pid_t tid, int fd);
// readlink() as a string, empty on failure.
std::string link_text(const std::string& path);
// The Tgid line of /proc/TID/status; 0 when the thread is gone.
pid_t thread_group(pid_t tid);
std::string thread_name(pid_t tid);
// Session id from /proc/PID/stat; 0 when gone.
pid_t session_of(pid_t pid);

// What a call names. For a descriptor `name` is empty and `link` is fd_link(); for a path `link`
// is a directory the tracer can open and `name` the last component (kept: links are not followed).
struct Place {
  std::string link;
  std::string name;
  std::string path;  // absolute, parent links resolved; for logs and prefix tests
  bool is_fd = false;

  // A path that reaches the object itself from the tracer.
  std::string reach() const { return is_fd ? link : link + "/" + name; }
};

enum class Target : std::uint8_t { kFile, kSocket, kOther };

// A decoded call at its entry.
struct Call {
  const CallSpec* spec = nullptr;
  Arguments args{};
  Target target = Target::kOther;
  std::vector<Place> places;
  std::int64_t length = -1;  // bytes asked for, -1 when it has no length
  std::uint64_t flags = 0;   // open, rename and link flags
  std::uint64_t mode = 0;    // of open
};

// Whether an openat2 may create or cut a file. The filter cannot tell: its flags are in memory.
bool opens_to_change(pid_t tid, const Arguments& args);

Call decode_call(pid_t tid, const CallSpec& spec, const Arguments& args);

}  // namespace cairn::crash
