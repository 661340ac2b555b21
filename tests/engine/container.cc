#include "container.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <string>
#include <string_view>

namespace cairn::spawner {

namespace {

constexpr int kLinksMax = 40;  // as in the kernel's path walk

void mount_at(const char* source,
              const std::string& target,
              const char* type,
              unsigned long flags,
              const std::string& data,
              Report& report) {
  report.check(mount(source, target.c_str(), type, flags, data.c_str()), "mount", target);
}

bool is_directory(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

void make_directory(const std::string& path, Report& report) {
  if (mkdir(path.c_str(), 0777) == 0) return;
  const int error = errno;
  if (is_directory(path)) return;
  errno = error;
  report.check(-1, "mkdir", path);
}

void make_directories(const std::string& path, Report& report) {
  if (is_directory(path)) return;
  for (auto end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    make_directory(path.substr(0, end), report);
  }
  make_directory(path, report);
}

std::deque<std::string> parts_of(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    if (!part.empty() && part != ".") parts.emplace_back(part);
  }
  return parts;
}

// The path of `target` inside root; its parents are made. Links are followed inside root only: an
// image's own must not lead a mount out of it.
std::string below(const std::string& root, const std::string& target, Report& report) {
  std::deque<std::string> rest = parts_of(target);
  std::string path = root;
  int links = 0;
  while (!rest.empty()) {
    const std::string part = rest.front();
    rest.pop_front();
    if (part == "..") {
      if (path != root) path.resize(path.rfind('/'));
      continue;
    }

    const std::string next = path + "/" + part;
    std::array<char, PATH_MAX> link{};
    const ssize_t size = readlink(next.c_str(), link.data(), link.size());
    if (size < 0) {
      path = next;
      if (!rest.empty()) make_directory(path, report);
      continue;
    }
    if (++links > kLinksMax) {
      errno = ELOOP;
      report.check(-1, "mount", target);
    }
    const std::string_view led(link.data(), static_cast<std::size_t>(size));
    if (led.starts_with('/')) path = root;
    const std::deque<std::string> way = parts_of(led);
    rest.insert(rest.begin(), way.begin(), way.end());
  }
  return path;
}

void bind_into(const std::string& root, const Mount& item, Report& report) {
  const std::string target = below(root, item.target, report);
  if (item.type == "tmpfs") {
    make_directory(target, report);
    mount_at("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", report);
    return;
  }
  if (is_directory(item.source)) {
    make_directory(target, report);
  } else if (access(target.c_str(), F_OK) != 0) {
    const os::Fd file(open(target.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    report.check(file.get(), "open", target);
  }
  mount_at(item.source.c_str(), target, nullptr, MS_BIND | MS_REC, {}, report);
  if (item.read_only) {
    mount_at(nullptr, target, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, {}, report);
  }
}

void make_devices(const std::string& dev, std::uint64_t shm_bytes, Report& report) {
  struct Device {
    const char* name;
    unsigned minor;
  };
  struct Link {
    const char* name;
    const char* target;
  };
  constexpr unsigned kMemory = 1;
  constexpr std::array kDevices{Device{"/null", 3}, Device{"/zero", 5}, Device{"/full", 7},
                                Device{"/random", 8}, Device{"/urandom", 9}};
  constexpr std::array kLinks{Link{"/fd", "/proc/self/fd"}, Link{"/stdin", "/proc/self/fd/0"},
                              Link{"/stdout", "/proc/self/fd/1"},
                              Link{"/stderr", "/proc/self/fd/2"}};

  mount_at("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=64k", report);
  for (const Device& device : kDevices) {
    const std::string path = dev + device.name;
    report.check(mknod(path.c_str(), S_IFCHR | 0666, makedev(kMemory, device.minor)), "mknod",
                 path);
    report.check(chmod(path.c_str(), 0666), "chmod", path);
  }
  for (const Link& link : kLinks) {
    const std::string path = dev + link.name;
    report.check(symlink(link.target, path.c_str()), "symlink", path);
  }
  make_directory(dev + "/shm", report);
  mount_at("shm", dev + "/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
           "mode=1777,size=" + std::to_string(shm_bytes), report);
}

// `volatile`: an overlay otherwise syncs its whole file system when it is unmounted. It leaves a
// mark that forbids the next mount, for a safety that a test container's own layer does not need.
void mount_overlay(const Root& root, Report& report) {
  const std::string marks = root.work + "/work/incompat";
  unlink((marks + "/volatile/dirty").c_str());
  rmdir((marks + "/volatile").c_str());
  rmdir(marks.c_str());
  mount_at(
      "overlay", root.merged, "overlay", 0,
      "lowerdir=" + root.lower + ",upperdir=" + root.upper + ",workdir=" + root.work + ",volatile",
      report);
}

}  // namespace

void enter_root(const Root& root, Report& report) {
  report.check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount", "/");
  mount_overlay(root, report);
  for (const char* name : {"/proc", "/dev", "/sys"}) make_directory(root.merged + name, report);
  mount_at("proc", root.merged + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, {}, report);
  make_devices(root.merged + "/dev", root.shm_bytes, report);
  for (const Mount& item : root.mounts) bind_into(root.merged, item, report);

  report.check(chdir(root.merged.c_str()), "chdir", root.merged);
  report.check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  report.check(umount2(".", MNT_DETACH), "umount of the old root");
  report.check(chdir("/"), "chdir", "/");
  report.check(sethostname(root.hostname.c_str(), root.hostname.size()), "sethostname");
}

void join_container(const os::Fd& first, Report& report) {
  report.check(setns(first.get(), CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS), "setns");
}

void become(const Program& program, const Streams& streams, Report& report) {
  report.check(setsid(), "setsid");

  // What the spawner opened or was sent is above 2, so none is overwritten before its turn.
  for (int number = 0; const int stream : streams) report.check(dup2(stream, number++), "dup2");

  report.check(setgroups(0, nullptr), "setgroups");
  report.check(setgid(program.gid), "setgid");
  report.check(setuid(program.uid), "setuid");
  if (program.uid == 0) make_directories(program.cwd, report);
  report.check(chdir(program.cwd.c_str()), "chdir", program.cwd);

  for (const int number : {SIGPIPE, SIGINT, SIGTERM}) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  report.check(sigprocmask(SIG_SETMASK, &none, nullptr), "sigprocmask");
}

}  // namespace cairn::spawner
