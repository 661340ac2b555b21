#include "os/sandbox.h"

#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <utility>
#include <vector>

namespace cairn::os {

namespace {

constexpr unsigned kNobody = 65534;
constexpr unsigned kFirstForeignFd = 3;

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the numbers of system calls are not known here"
#endif

Status limit(int resource, std::uint64_t value) {
  const rlimit both{value, value};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0) {
    return os_error("setrlimit", errno);
  }
  return {};
}

Status set_limits(const CageLimits& limits) {
  if (limits.memory_bytes != 0) TRY(limit(RLIMIT_AS, limits.memory_bytes));
  TRY(limit(RLIMIT_CPU, limits.cpu_seconds));
  TRY(limit(RLIMIT_FSIZE, 0));
  TRY(limit(RLIMIT_CORE, 0));
  return limit(RLIMIT_NOFILE, kFirstForeignFd);
}

// A ruleset without a rule: no path may be reached.
Status leave_file_system() {
  landlock_ruleset_attr rules{};
  rules.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1U) - 1;  // all of the first version
  const long ruleset = ::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
  // A kernel without it: the filter below lets no path through either.
  if (ruleset < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) return {};
  if (ruleset < 0) return os_error("landlock_create_ruleset", errno);
  const bool left = ::syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
  const int failed = errno;
  ::close(static_cast<int>(ruleset));
  if (!left) return os_error("landlock_restrict_self", failed);
  return {};
}

Status drop_privileges() {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (::geteuid() == 0 && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      return os_error("drop a capability", errno);
    }
  }
  if (::geteuid() == 0) {
    if (::setgroups(0, nullptr) != 0) return os_error("setgroups", errno);
    if (::setresgid(kNobody, kNobody, kNobody) != 0) return os_error("setresgid", errno);
    if (::setresuid(kNobody, kNobody, kNobody) != 0) return os_error("setresuid", errno);
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  if (::syscall(SYS_capset, &header, none.data()) != 0) return os_error("capset", errno);
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return os_error("become undumpable", errno);
  return {};
}

// The filter's program (BPF), written from front to back: each test either lets the call through or
// falls to the next one.
class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
    kill();
  }
  void allow(long call) {
    load(offsetof(seccomp_data, nr));
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number(call), 0, 1));
    pass();
  }
  // Where the low half of the argument, masked, is one of the values.
  void allow(long call,
             unsigned argument,
             std::uint32_t mask,
             std::initializer_list<std::uint32_t> values) {
    for (const std::uint32_t value : values) {
      load(offsetof(seccomp_data, nr));
      program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number(call), 0, 4));
      load(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
      program_.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
      program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
      pass();
    }
  }
  Status install() {
    kill();
    sock_fprog whole{.len = static_cast<unsigned short>(program_.size()),
                     .filter = program_.data()};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) != 0) {
      return os_error("seccomp", errno);
    }
    return {};
  }

 private:
  static std::uint32_t number(long call) { return static_cast<std::uint32_t>(call); }
  void load(std::size_t offset) {
    program_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  }
  void pass() { program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)); }
  void kill() { program_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)); }

  std::vector<sock_filter> program_;
};

Status filter_calls() {
  constexpr std::uint32_t kAll = 0xFFFFFFFF;
  Filter filter;
  filter.allow(SYS_read, 0, kAll, {0});
  filter.allow(SYS_pread64, 0, kAll, {0});
  filter.allow(SYS_write, 0, kAll, {1, 2});
  filter.allow(SYS_mmap, 2, PROT_EXEC, {0});
  filter.allow(SYS_mprotect, 2, PROT_EXEC, {0});
  for (const long call :
       {SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex, SYS_exit, SYS_exit_group,
        SYS_rt_sigreturn, SYS_restart_syscall, SYS_clock_gettime, SYS_getrandom}) {
    filter.allow(call);
  }
  return filter.install();
}

}  // namespace

Status enter_cage(const CageLimits& limits) {
  if (::syscall(SYS_close_range, kFirstForeignFd, ~0U, 0) != 0) {
    return os_error("close_range", errno);
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return os_error("give up privileges", errno);
  TRY(leave_file_system());
  TRY(drop_privileges());
  TRY(set_limits(limits));
  return filter_calls();
}

}  // namespace cairn::os
