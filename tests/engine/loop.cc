#include "loop.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include "container.h"

namespace cairn::spawner {

namespace {

constexpr std::size_t kMessageBytesMax = 1 << 20;
constexpr std::size_t kStreams = 3;
std::array<char, kMessageBytesMax> message_buffer;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Message {
  std::string_view text;  // empty once the engine is gone
  std::vector<os::Fd> descriptors;
};

Message receive(const os::Fd& channel) {
  iovec data{.iov_base = message_buffer.data(), .iov_len = message_buffer.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kStreams * sizeof(int))> control{};
  msghdr head{};
  head.msg_iov = &data;
  head.msg_iovlen = 1;
  head.msg_control = control.data();
  head.msg_controllen = control.size();
  const ssize_t size = recvmsg(channel.get(), &head, MSG_CMSG_CLOEXEC);
  if (size <= 0) return {};

  Message message{.text = {message_buffer.data(), static_cast<std::size_t>(size)}};
  const cmsghdr* sent = CMSG_FIRSTHDR(&head);
  if (sent != nullptr && sent->cmsg_level == SOL_SOCKET && sent->cmsg_type == SCM_RIGHTS) {
    for (std::size_t at = CMSG_LEN(0); at < sent->cmsg_len; at += sizeof(int)) {
      int descriptor = -1;
      std::memcpy(&descriptor, reinterpret_cast<const char*>(sent) + at, sizeof descriptor);
      message.descriptors.emplace_back(descriptor);
    }
  }
  return message;
}

struct Pipe {
  os::Fd read;
  os::Fd write;
};

// Reads do not wait: a pipe may be ready for an end that another process has yet to make.
Pipe make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) die("cairn_fake_spawner: pipe");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {os::Fd(ends[0]), os::Fd(ends[1])};
}

// Whole or not at all: a reader may come at any time. False, and errno, where it failed.
bool write_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const os::Fd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  return file.valid() &&
         write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
         rename(fresh.c_str(), path.c_str()) == 0;
}

// When the process started, in ticks: with its id it is a name that is never used again.
std::string start_of(pid_t pid) {
  constexpr int kFieldsBetween = 20;  // from the name's end to field 22 of proc_pid_stat(5)
  std::array<char, 1024> text{};
  const os::Fd file(open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t size = read(file.get(), text.data(), text.size());
  if (size <= 0) return "0";
  const std::string_view fields(text.data(), static_cast<std::size_t>(size));
  std::size_t at = fields.rfind(')');
  for (int i = 0; i < kFieldsBetween; ++i) at = fields.find(' ', at + 1);
  return std::string(fields.substr(at + 1, fields.find(' ', at + 1) - at - 1));
}

os::Fd open_cgroup(const std::string& path) {
  return os::Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

Spawner::Spawner(os::Fd channel, os::Fd lock, os::Fd owner)
    : channel_(std::move(channel)),
      lock_(std::move(lock)),
      owner_(std::move(owner)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      self_(open_process(getpid())),
      null_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  if (!poll_.valid() || !self_.valid() || !null_.valid()) die("cairn_fake_spawner");
  watch(channel_.get());
  if (owner_.valid()) watch(owner_.get());
}

void Spawner::run() {
  while (connected_ || !children_.empty()) {
    // One event at a time: of several, one may close what the next is about, and open another
    // descriptor of the same number.
    epoll_event event{};
    if (epoll_wait(poll_.get(), &event, 1, -1) < 0) {
      if (errno != EINTR) die("cairn_fake_spawner: epoll_wait");
      continue;  // it was stopped and goes on
    }
    if (owner_.valid() && event.data.fd == owner_.get()) return kill_all();
    serve(event.data.fd);
  }
}

void Spawner::serve(int descriptor) {
  if (descriptor == channel_.get()) {
    take_request();
  } else if (children_.contains(descriptor)) {
    end(descriptor);
  } else if (const auto found = outputs_.find(descriptor);
             found != outputs_.end() && !found->second.pump()) {
    outputs_.erase(found);
  }
}

void Spawner::kill_all() const {
  for (const auto& [pidfd, child] : children_) kill_process(child.pidfd);
}

void Spawner::take_request() {
  const Message message = receive(channel_);
  if (message.text.empty()) return lose_engine();
  const Request request = parse_request(message.text);
  const auto* run = std::get_if<RunRequest>(&request.what);
  const Answer answer = run != nullptr
                            ? start_container(*run)
                            : start_exec(std::get<ExecRequest>(request.what), message.descriptors);
  send(answer_text(request.seq, answer));
}

Answer Spawner::start_container(const RunRequest& request) {
  const os::Fd cgroup = open_cgroup(request.cgroup);
  if (!cgroup.valid()) return system_failure(errno, "open", request.cgroup);
  os::Fd log(open(request.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  if (!log.valid()) return system_failure(errno, "open", request.log);
  Pipe out = make_pipe();
  Pipe err = make_pipe();

  const Executable executable(request.program);
  constexpr std::uint64_t kNamespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
  Birth birth = start_process(kNamespaces, cgroup, [&](Report& report) {
    enter_root(request.root, report);
    become(request.program, {null_.get(), out.write.get(), err.write.get()}, report);
    executable.run(report);
  });
  if (birth.failure) return *birth.failure;

  if (!write_file(request.pid_file, std::to_string(birth.pid) + " " + start_of(birth.pid))) {
    const int error = errno;
    kill_process(birth.pidfd);
    reap(birth.pid);
    return system_failure(error, "write", request.pid_file);
  }
  Child child{.pid = birth.pid,
              .pidfd = std::move(birth.pidfd),
              .key = request.key,
              .directory = request.directory,
              .log = std::move(log),
              .outputs = {out.read.get(), err.read.get()}};
  Child& kept = watch(std::move(child));
  add_output(std::move(out.read), kept.log, "stdout");
  add_output(std::move(err.read), kept.log, "stderr");
  return Started{birth.pid};
}

// Only children of the one that enters a pid namespace are in it. The spawner enters it for the
// time of the birth, so that no helper has to be forked for that.
Answer Spawner::start_exec(const ExecRequest& request, const std::vector<os::Fd>& streams) {
  if (streams.size() != kStreams) return system_failure(EBADF, "exec");
  const auto container = std::ranges::find_if(
      children_, [&request](const auto& item) { return item.second.pid == request.container; });
  if (container == children_.end()) return system_failure(ESRCH, "setns");
  const os::Fd cgroup = open_cgroup(request.cgroup);
  if (!cgroup.valid()) return system_failure(errno, "open", request.cgroup);

  const os::Fd& first = container->second.pidfd;
  if (setns(first.get(), CLONE_NEWPID) != 0) return system_failure(errno, "setns");
  const Executable executable(request.program);
  Birth birth = start_process(0, cgroup, [&](Report& report) {
    join_container(first, report);
    become(request.program, {streams[0].get(), streams[1].get(), streams[2].get()}, report);
    executable.run(report);
  });
  if (setns(self_.get(), CLONE_NEWPID) != 0) die("cairn_fake_spawner: setns");

  if (birth.failure) return *birth.failure;
  watch({.pid = birth.pid, .pidfd = std::move(birth.pidfd), .key = request.key});
  return Started{birth.pid};
}

Spawner::Child& Spawner::watch(Child child) {
  const int pidfd = child.pidfd.get();
  watch(pidfd);
  return children_.emplace(pidfd, std::move(child)).first->second;
}

void Spawner::add_output(os::Fd pipe, const os::Fd& log, const char* stream) {
  const int descriptor = pipe.get();
  watch(descriptor);
  outputs_.emplace(descriptor, Output(std::move(pipe), log, stream));
}

void Spawner::watch(int descriptor) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = descriptor}};
  if (epoll_ctl(poll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
    die("cairn_fake_spawner: epoll_ctl");
  }
}

void Spawner::end(int pidfd) {
  const auto ended = children_.extract(pidfd);  // where it is: its outputs hold its log
  const Child& child = ended.mapped();
  const int code = reap(child.pid);
  for (const int pipe : child.outputs) drain(pipe, child);

  if (!child.directory.empty()) {
    const std::string text = "{\"pid\": " + std::to_string(child.pid) +
                             ", \"code\": " + std::to_string(code) + ", \"time\": \"" +
                             time_text() + "\"}";
    if (!write_file(child.directory + "/exit", text)) std::perror("cairn_fake_spawner: exit file");
  }
  send(exit_text({.key = child.key, .pid = child.pid, .code = code}));
}

// All that was written before the end; the pid namespace has ended with its first process. A pipe
// may have ended before its process did, and its number be another child's by now.
void Spawner::drain(int pipe, const Child& child) {
  const auto found = outputs_.find(pipe);
  if (found == outputs_.end() || !found->second.writes_to(child.log)) return;
  while (found->second.ready() && found->second.pump()) {
  }
  outputs_.erase(found);
}

void Spawner::send(std::string_view message) {
  if (!connected_) return;
  if (::send(channel_.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) lose_engine();
}

void Spawner::lose_engine() {
  connected_ = false;
  epoll_ctl(poll_.get(), EPOLL_CTL_DEL, channel_.get(), nullptr);
  flock(lock_.get(), LOCK_UN);
}

}  // namespace cairn::spawner
