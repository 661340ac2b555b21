// Each test forks: what a caged process may do and what it dies of.
#include "os/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <vector>

namespace cairn::os {
namespace {

// The sanitizers' shadow memory has no room in any limit.
#if defined(__has_feature)
#define CAIRN_HAS_FEATURE(name) __has_feature(name)
#else
#define CAIRN_HAS_FEATURE(name) 0
#endif
#if CAIRN_HAS_FEATURE(address_sanitizer) || CAIRN_HAS_FEATURE(thread_sanitizer)
constexpr std::uint64_t kMemoryBytes = 0;
#else
constexpr std::uint64_t kMemoryBytes = 1ULL << 30U;
#endif
constexpr CageLimits kLimits{.memory_bytes = kMemoryBytes, .cpu_seconds = 10};

// The wait status of a child that entered the cage and then ran body.
int caged(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (!enter_cage(kLimits).ok()) ::_exit(99);
    // Not _exit(): AddressSanitizer asks for the signal stack before it, which the cage forbids.
    ::syscall(SYS_exit_group, body());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

bool was_killed(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

TEST(Cage, LetsMemoryAndTheStandardDescriptorsBe) {
  const int status = caged([] {
    std::vector<char> memory(64U << 20U, 'x');
    const ssize_t written = ::write(1, memory.data(), 0);
    return memory[12345] == 'x' && written == 0 ? 7 : 8;
  });
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Cage, KillsWhatOpensAFile) {
  EXPECT_TRUE(was_killed(caged([] { return ::open("/etc/passwd", O_RDONLY); })));
}

TEST(Cage, KillsWhatConnects) {
  EXPECT_TRUE(was_killed(caged([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); })));
}

TEST(Cage, KillsWhatStartsAProgram) {
  EXPECT_TRUE(was_killed(caged([] { return ::execl("/bin/true", "true", nullptr); })));
  EXPECT_TRUE(was_killed(caged([] { return ::fork() == 0 ? 0 : 1; })));
}

TEST(Cage, KillsWhatWritesToItsInput) {
  EXPECT_TRUE(was_killed(caged([] { return static_cast<int>(::write(0, "x", 1)); })));
}

TEST(Cage, HoldsMemoryToItsLimit) {
  if (kMemoryBytes == 0) return;  // the release build holds it
  const int status = caged([] {
    void* much = std::malloc(2ULL << 30U);
    return much == nullptr ? 7 : 8;
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

}  // namespace
}  // namespace cairn::os
