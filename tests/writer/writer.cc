// cairn_test_writer DIR VOLUME: the workload of tests/functional/test_running_writer.py. It does
// what a list says, one state-changing system call (or one store to memory) a step, and after each
// step writes the step's number into two files of the volume: `count` by pwrite, `count.map` by a
// store to a mapping.
//
// DIR/list   one step a line: VERB ARGUMENT... | PATH...    (paths are relative to VOLUME)
// DIR/log    mapped, made by the test: Head, then for each step the mtimes of its PATHs
// Both are made anew for each list; the list is taken when it appears, and removed.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kLooks = 4;
constexpr unsigned kPollUs = 500;
constexpr std::int64_t kNsPerS = 1'000'000'000;

enum State : std::uint64_t { kWaiting, kRunning, kDone, kFailed };

struct Head {
  volatile std::uint64_t state;
  volatile std::uint64_t steps;  // done, their numbers written
  volatile std::uint64_t stop;   // the test wants no further step
  volatile std::int64_t error;   // errno of the step after them
};
using Looks = std::array<std::int64_t, kLooks>;  // ns

struct Mapping {
  void* at = nullptr;
  std::size_t bytes = 0;
};

struct Step {
  std::vector<std::string> words;
  std::vector<std::string> looks;
};

class Writer {
 public:
  Writer(int control, int volume) : control_(control), volume_(volume) {}
  void serve();

 private:
  using Words = std::vector<std::string>;
  bool run(const std::vector<Step>& steps, Head& head, Looks* looks);
  bool act(const Words& words);
  bool act_on_file(const Words& words);
  bool map(unsigned long slot, const std::string& path);
  int open_file(const std::string& path, int flags) const {
    return openat(volume_, path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC);
  }

  int control_;
  int volume_;
  std::map<unsigned long, Mapping> slots_;
};

std::uint64_t number(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}
off_t offset(const std::string& text) {
  return static_cast<off_t>(number(text));
}
mode_t mode(const std::string& text) {
  return static_cast<mode_t>(std::strtoul(text.c_str(), nullptr, 8));
}

std::vector<char> pattern(std::uint64_t seed, std::size_t bytes) {
  std::vector<char> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(seed >> (i % 8 * 8));
  return out;
}

bool whole(ssize_t done, std::size_t wanted) {
  if (done >= 0 && static_cast<std::size_t>(done) != wanted) errno = EIO;
  return done == static_cast<ssize_t>(wanted);
}

bool Writer::map(unsigned long slot, const std::string& path) {
  const int fd = open_file(path, O_RDWR);
  struct stat info{};
  if (fd < 0 || fstat(fd, &info) != 0) return false;
  const auto bytes = static_cast<std::size_t>(info.st_size);
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) return false;
  slots_[slot] = {at, bytes};
  return true;
}

// What needs the file open: opening and closing change nothing that a capture keeps.
bool Writer::act_on_file(const Words& w) {
  const int fd =
      open_file(w[1], w[0] == "write" || w[0] == "punch" || w[0] == "truncate" ? O_RDWR : O_RDONLY);
  if (fd < 0) return false;
  bool ok = false;
  if (w[0] == "write") {
    const auto data = pattern(number(w[4]), number(w[3]));
    ok = whole(pwrite(fd, data.data(), data.size(), offset(w[2])), data.size());
  } else if (w[0] == "punch") {
    ok = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset(w[2]), offset(w[3])) == 0;
  } else if (w[0] == "truncate") {
    ok = ftruncate(fd, offset(w[2])) == 0;
  } else if (w[0] == "setxattr") {
    const auto value = pattern(number(w[4]), number(w[3]));
    ok = fsetxattr(fd, w[2].c_str(), value.data(), value.size(), 0) == 0;
  } else if (w[0] == "rmxattr") {
    ok = fremovexattr(fd, w[2].c_str()) == 0;
  } else {
    errno = ENOSYS;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return ok;
}

bool Writer::act(const Words& w) {
  const std::string& verb = w[0];
  const char* path = w.size() > 1 ? w[1].c_str() : "";
  const char* other = w.size() > 2 ? w[2].c_str() : "";
  if (verb == "sleep") return usleep(static_cast<useconds_t>(number(w[1]))) == 0;
  if (verb == "mkdir") return mkdirat(volume_, path, mode(w[2])) == 0;
  if (verb == "create") {
    const int fd = openat(volume_, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode(w[2]));
    return fd >= 0 && close(fd) == 0;
  }
  if (verb == "link") return linkat(volume_, path, volume_, other, 0) == 0;
  if (verb == "symlink") return symlinkat(path, volume_, other) == 0;
  if (verb == "fifo") return mknodat(volume_, path, S_IFIFO | 0600, 0) == 0;
  if (verb == "device") return mknodat(volume_, path, S_IFCHR | 0600, makedev(1, 3)) == 0;
  if (verb == "rename") return renameat(volume_, path, volume_, other) == 0;
  if (verb == "exchange") return renameat2(volume_, path, volume_, other, RENAME_EXCHANGE) == 0;
  if (verb == "unlink") return unlinkat(volume_, path, 0) == 0;
  if (verb == "rmdir") return unlinkat(volume_, path, AT_REMOVEDIR) == 0;
  if (verb == "chmod") return fchmodat(volume_, path, mode(w[2]), 0) == 0;
  if (verb == "chown") {
    return fchownat(volume_, path, static_cast<uid_t>(number(w[2])),
                    static_cast<gid_t>(number(w[3])), AT_SYMLINK_NOFOLLOW) == 0;
  }
  if (verb == "utimens") {
    const timespec time{static_cast<time_t>(number(w[2])), static_cast<long>(number(w[3]))};
    const std::array<timespec, 2> times{time, time};
    return utimensat(volume_, path, times.data(), AT_SYMLINK_NOFOLLOW) == 0;
  }
  if (verb == "map") return map(number(w[1]), w[2]);
  if (verb == "unmap") {
    const Mapping mapping = slots_.extract(number(w[1])).mapped();
    return munmap(mapping.at, mapping.bytes) == 0;
  }
  if (verb == "store") {
    char* at = static_cast<char*>(slots_.at(number(w[1])).at) + number(w[2]);
    *reinterpret_cast<volatile std::uint64_t*>(at) = number(w[3]);
    return true;
  }
  return act_on_file(w);
}

bool Writer::run(const std::vector<Step>& steps, Head& head, Looks* looks) {
  const int count = open_file("count", O_RDWR);
  constexpr unsigned long kCountSlot = ~0UL;
  if (count < 0 || !map(kCountSlot, "count.map")) return false;
  auto* stored = static_cast<volatile std::uint64_t*>(slots_[kCountSlot].at);
  bool ok = true;
  for (std::uint64_t i = 0; ok && i < steps.size() && head.stop == 0; ++i) {
    ok = act(steps[i].words);
    for (std::size_t k = 0; ok && k < steps[i].looks.size(); ++k) {
      struct stat info{};
      ok = fstatat(volume_, steps[i].looks[k].c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
      looks[i][k] = info.st_mtim.tv_sec * kNsPerS + info.st_mtim.tv_nsec;
    }
    const std::uint64_t next = *stored + 1;
    ok = ok && whole(pwrite(count, &next, sizeof(next), 0), sizeof(next));
    if (!ok) break;
    *stored = next;
    head.steps = i + 1;
  }
  const int error = errno;
  close(count);
  munmap(slots_[kCountSlot].at, slots_[kCountSlot].bytes);
  slots_.erase(kCountSlot);
  errno = error;
  return ok;
}

std::vector<Step> read_list(std::istream& list) {
  std::vector<Step> steps;
  for (std::string line; std::getline(list, line);) {
    Step step;
    std::istringstream words(line);
    bool looks = false;
    for (std::string word; words >> word;) {
      if (word == "|") {
        looks = true;
      } else {
        (looks ? step.looks : step.words).push_back(word);
      }
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

void Writer::serve() {
  const std::string here = "/proc/self/fd/" + std::to_string(control_);
  for (;;) {
    std::ifstream list(here + "/list", std::ios::binary);
    if (!list) {
      usleep(kPollUs);
      continue;
    }
    const std::vector<Step> steps = read_list(list);
    const int fd = openat(control_, "log", O_RDWR | O_CLOEXEC);
    const std::size_t bytes = sizeof(Head) + steps.size() * sizeof(Looks);
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) std::abort();
    Head& head = *static_cast<Head*>(at);
    unlinkat(control_, "list", 0);
    head.state = kRunning;
    const bool ok = run(steps, head, reinterpret_cast<Looks*>(&head + 1));
    head.error = ok ? 0 : errno;
    head.state = ok ? kDone : kFailed;
    munmap(at, bytes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: cairn_test_writer DIR VOLUME\n", stderr);
    return 2;
  }
  // As the first process of a container it would otherwise not be ended by it.
  std::signal(SIGTERM, [](int) { _exit(0); });
  umask(0);
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  const int control = open(argv[1], kFlags);
  const int volume = open(argv[2], kFlags);
  if (control < 0 || volume < 0) return 1;
  Writer(control, volume).serve();
}
