"""The fake engine's shim: one single-threaded process that makes containers and outlives the engine.

It forks containers into their own mount, pid, ipc and uts namespaces, pumps their output
into json-file logs, and reports exits. It is separate because a threaded process must not
fork, and because containers must go on when the engine is killed. It ends when the engine
is gone and its last container has ended, or kills all of them when the OWNER process ends.

Usage: spawner.py ROOT FD LOCK OWNER    (FD: a SOCK_SEQPACKET socket; requests and events are JSON.
LOCK: a locked file, unlocked once no request can come any more: spawn_client.py)
"""

import array
import ctypes
import datetime
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
CLONE_PARENT, CLONE_INTO_CGROUP = 0x8000, 0x200000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
SYS_CLONE3, SYS_PIVOT_ROOT = 435, 155

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _mount(source, target, kind=None, flags=0, data=None):
    as_bytes = [None if v is None else os.fsencode(v) for v in (source, target, kind, data)]
    _check(_libc.mount(as_bytes[0], as_bytes[1], as_bytes[2], ctypes.c_ulong(flags), as_bytes[3]), f"mount {target}")


def _clone(flags, cgroup_fd=-1):
    """fork() with namespaces; straight into a cgroup when one is given (no slow migration)."""
    if cgroup_fd >= 0:
        flags |= CLONE_INTO_CGROUP
    exit_signal = 0 if flags & CLONE_PARENT else signal.SIGCHLD
    args = struct.pack("11Q", flags, 0, 0, 0, exit_signal, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    buffer = ctypes.create_string_buffer(args, len(args))
    return _check(_libc.syscall(SYS_CLONE3, buffer, ctypes.c_size_t(len(args))), "clone3")


def _now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


# -- inside a new container ------------------------------------------------------------


def _below(root, target):
    """The path of `target` inside root; parents are made, links are followed inside root only."""
    parts = [part for part in target.split("/") if part and part != "."]
    path = root
    for index, part in enumerate(parts):
        path = os.path.join(path, part)
        if os.path.islink(path):
            link = os.readlink(path)
            start = "/" if link.startswith("/") else "/" + os.path.relpath(os.path.dirname(path), root)
            rest = "/".join(parts[index + 1 :])
            return _below(root, os.path.normpath(os.path.join(start, link, rest)))
        if index < len(parts) - 1 and not os.path.isdir(path):
            os.mkdir(path)
    return path


def _bind(root, item):
    target = _below(root, item["target"])
    if item["type"] == "tmpfs":
        os.makedirs(target, exist_ok=True)
        _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        return
    source = item["source"]
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, None, MS_BIND | MS_REC)
    if item["ro"]:
        _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _devices(dev, shm_bytes):
    _mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(f"{dev}/{name}", 0o20666, os.makedev(1, minor))
        os.chmod(f"{dev}/{name}", 0o666)
    for name, link in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                       ("stderr", "/proc/self/fd/2")):
        os.symlink(link, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    _mount("shm", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"mode=1777,size={shm_bytes}")


def _enter_root(spec):
    root = spec["merged"]
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    # volatile: an overlay otherwise syncs its whole file system when it is unmounted. It leaves a
    # mark that forbids the next mount, for a safety that a test container's own layer does not need.
    marks = f"{spec['work']}/work/incompat"
    if os.path.isdir(marks):
        shutil.rmtree(marks)
    _mount("overlay", root, "overlay", 0,
           f"lowerdir={spec['lower']},upperdir={spec['upper']},workdir={spec['work']},volatile")
    for name in ("proc", "dev", "sys"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _devices(f"{root}/dev", spec["shm_bytes"])
    for item in spec["mounts"]:
        _bind(root, item)
    os.chdir(root)
    _check(_libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _become(spec):
    os.setgroups(spec.get("groups", []))
    os.setgid(spec["gid"])
    os.setuid(spec["uid"])
    cwd = spec.get("cwd") or "/"
    os.makedirs(cwd, exist_ok=True) if spec["uid"] == 0 else None
    os.chdir(cwd)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _fds(stdin, stdout, stderr):
    # Descriptors above 2 first, so that no dup2 overwrites one that is still needed.
    high = [os.dup(fd) if fd <= 2 else fd for fd in (stdin, stdout, stderr)]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=True)


def _exec(argv, env):
    # Not execvpe: it imports modules, and Python's own files are out of reach in here.
    variables = dict(item.split("=", 1) for item in env if "=" in item)
    program, denied = argv[0], False
    places = [program] if "/" in program else [f"{d}/{program}" for d in variables.get("PATH", "").split(":") if d]
    for place in places:
        try:
            os.execve(place, argv, variables)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            denied = True
    if denied:
        raise LookupError(f'exec: "{program}": permission denied')
    hint = "no such file or directory" if "/" in program else "executable file not found in $PATH"
    raise LookupError(f'exec: "{program}": {hint}')


def _fail(report, error):
    kind = "lookup" if isinstance(error, LookupError) else "os"
    try:
        os.write(report, json.dumps({"kind": kind, "error": str(error.args[-1] if error.args else error)}).encode())
    finally:
        os._exit(127)


def _await_exec(read_end):
    """None once the child has run exec; what went wrong otherwise."""
    data = b""
    while chunk := os.read(read_end, 65536):
        data += chunk
    os.close(read_end)
    return json.loads(data) if data else None


# -- the loop --------------------------------------------------------------------------


class Spawner:
    def __init__(self, channel, lock, owner):
        self.channel = channel
        self.lock = lock
        self.connected = True
        self.poll = select.epoll()
        self.children = {}  # pidfd -> (pid, key, directory or None, [log descriptors])
        self.pipes = {}  # descriptor -> (log file, stream name, unfinished line)
        self.poll.register(channel.fileno(), select.EPOLLIN)
        self.owner = os.pidfd_open(owner) if owner else -1
        if owner:
            self.poll.register(self.owner, select.EPOLLIN)

    def send(self, message):
        if not self.connected:
            return
        try:
            self.channel.send(json.dumps(message).encode())
        except OSError:
            self.lose_engine()

    def lose_engine(self):
        if self.connected:
            self.connected = False
            self.poll.unregister(self.channel.fileno())
            fcntl.flock(self.lock, fcntl.LOCK_UN)

    def run(self):
        while self.connected or self.children:
            for fd, _ in self.poll.poll():
                if fd == self.owner:
                    for pidfd in self.children:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    return
                if fd in self.children:
                    self.reap(fd)
                elif fd in self.pipes:
                    self.pump(fd)
                elif self.connected and fd == self.channel.fileno():
                    self.request()

    def request(self):
        try:
            data, ancillary, _, _ = self.channel.recvmsg(1 << 20, socket.CMSG_SPACE(16))
        except OSError:
            data = b""
        fds = array.array("i")
        for level, kind, content in ancillary if data else []:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            self.lose_engine()
            return
        spec = json.loads(data)
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            handler = {"run": self.start_container, "exec": self.start_exec}[spec["op"]]
            answer = handler(spec, list(fds))
        except OSError as error:
            answer = {"kind": "os", "error": str(error)}
        finally:
            for fd in fds:
                os.close(fd)
        self.send({"op": "answer", "seq": spec["seq"], **answer})

    def watch(self, pid, key, directory, logs):
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = (pid, key, directory, logs)
        self.poll.register(pidfd, select.EPOLLIN)

    # A container: clone3 with all namespaces; the child builds its root and runs exec.
    def start_container(self, spec, _):
        read_end, report = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        cgroup = os.open(spec["cgroup"], os.O_RDONLY | os.O_DIRECTORY)
        pid = _clone(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS, cgroup)
        if pid == 0:
            try:
                os.setsid()
                null = os.open("/dev/null", os.O_RDONLY)
                _enter_root(spec)
                socket.sethostname(spec["hostname"])
                _fds(null, out_write, err_write)
                _become(spec)
                _exec(spec["argv"], spec["env"])
            except BaseException as error:
                _fail(report, error)
        for fd in (report, out_write, err_write, cgroup):
            os.close(fd)
        failed = _await_exec(read_end)
        if failed:
            os.close(out_read)
            os.close(err_read)
            os.waitpid(pid, 0)
            return failed
        log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        logs = [log]
        for fd, stream in ((out_read, "stdout"), (err_read, "stderr")):
            os.set_blocking(fd, False)
            self.pipes[fd] = [log, stream, b""]
            self.poll.register(fd, select.EPOLLIN)
            logs.append(fd)
        with open(f"/proc/{pid}/stat", "rb") as file:
            started = int(file.read().rsplit(b")", 1)[1].split()[19])
        with open(spec["pidfile"] + ".new", "w") as file:
            file.write(f"{pid} {started}")
        os.rename(spec["pidfile"] + ".new", spec["pidfile"])
        self.watch(pid, spec["key"], spec["dir"], logs)
        return {"pid": pid, "started": started}

    # A command in a running container: setns affects the pid namespace of children only, so a
    # helper enters the namespaces and makes the process as its own sibling (CLONE_PARENT).
    def start_exec(self, spec, fds):
        read_end, report = os.pipe()
        pid_read, pid_write = os.pipe()
        helper = os.fork()
        if helper == 0:
            try:
                os.setsid()
                names = (("pid", CLONE_NEWPID), ("ipc", CLONE_NEWIPC), ("uts", CLONE_NEWUTS), ("mnt", CLONE_NEWNS))
                spaces = [(os.open(f"/proc/{spec['pid']}/ns/{name}", os.O_RDONLY), kind) for name, kind in names]
                cgroup = os.open(spec["cgroup"], os.O_RDONLY | os.O_DIRECTORY)
                for space, kind in spaces:
                    _check(_libc.setns(space, kind), "setns")
                child = _clone(CLONE_PARENT, cgroup)
                if child != 0:
                    os.write(pid_write, str(child).encode())
                    os._exit(0)
                os.close(pid_write)
                _fds(*fds)
                _become(spec)
                _exec(spec["argv"], spec["env"])
            except BaseException as error:
                _fail(report, error)
        os.close(report)
        os.close(pid_write)
        data = b""
        while chunk := os.read(pid_read, 64):
            data += chunk
        os.close(pid_read)
        failed = _await_exec(read_end)
        os.waitpid(helper, 0)
        if failed:
            if data:
                os.waitpid(int(data), 0)
            return failed
        self.watch(int(data), spec["key"], None, [])
        return {"pid": int(data)}

    def pump(self, fd):
        log, stream, rest = self.pipes[fd]
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        lines = (rest + data).split(b"\n")
        whole = [line + b"\n" for line in lines[:-1]]
        if not data and lines[-1]:
            whole.append(lines[-1])
            lines[-1] = b""
        records = [{"log": line.decode(errors="replace"), "stream": stream, "time": _now()} for line in whole]
        if records:
            os.write(log, b"".join(json.dumps(record).encode() + b"\n" for record in records))
        self.pipes[fd][2] = lines[-1]
        if not data:
            self.close_pipe(fd)
            return False
        return True

    def close_pipe(self, fd):
        if fd in self.pipes:
            self.poll.unregister(fd)
            del self.pipes[fd]
            os.close(fd)

    def reap(self, pidfd):
        pid, key, directory, logs = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        code = status if status >= 0 else 128 - status
        for fd in logs[1:]:
            # All that was written before the end; the pid namespace has ended with its init.
            while fd in self.pipes:
                try:
                    ready = select.select([fd], [], [], 0)[0]
                except OSError as error:
                    if error.errno != errno.EBADF:
                        raise
                    break
                if not ready:
                    self.close_pipe(fd)
                else:
                    self.pump(fd)
        if logs:
            os.close(logs[0])
        if directory is not None:
            with open(f"{directory}/exit.new", "w") as file:
                json.dump({"pid": pid, "code": code, "time": _now()}, file)
            os.rename(f"{directory}/exit.new", f"{directory}/exit")
        self.send({"op": "exited", "key": key, "pid": pid, "code": code})


def main():
    channel = socket.socket(fileno=int(sys.argv[2]))
    lock, owner = int(sys.argv[3]), int(sys.argv[4])
    for fd in (channel.fileno(), lock):
        os.set_inheritable(fd, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Spawner(channel, lock, owner).run()


if __name__ == "__main__":
    main()
