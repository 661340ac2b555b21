"""Processes, network namespaces and mounts that tests start, and must leave no trace of.

Everything is ended by the id of a process started here, or by a process that names a
private path of ours on its command line; nothing is ever ended by program name.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .dockerapi import wait_for

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def scratch_dir(prefix: str) -> Path:
    """A short private directory: Unix socket paths are limited to 107 bytes."""
    return Path(tempfile.mkdtemp(prefix=f"cairn-{prefix}-", dir="/tmp"))


def memory_dir(prefix: str) -> Path:
    """A scratch directory where a sync costs nothing; remove_tree() unmounts it."""
    path = scratch_dir(prefix)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "cairn-test", path], check=True)
    return path


def log_tail(path, lines: int = 40) -> str:
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    noise = ("loading plugin", "Subchannel", "[core]", "starting signal loop", "cleanup warnings", "after shim disc")
    return "\n".join([line for line in text if not any(word in line for word in noise)][-lines:])


def dying_with_us(argv: list) -> list:
    """argv whose process is killed when the test process is, by a signal that cannot be missed.

    The kernel ties that to the thread that started it, so only the main thread may ask for it.
    """
    if threading.current_thread() is not threading.main_thread():
        return argv
    return ["setpriv", "--pdeathsig", "KILL", "--", *argv]


def interrupt_on_sigterm() -> None:
    """Lets `timeout` and CI end a test run through its fixtures, which clean up."""

    def interrupt(*_):
        raise KeyboardInterrupt("SIGTERM")

    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, interrupt)


class Daemon:
    """A long-running child with its output in a file."""

    def __init__(self, argv: list, log: Path, env: dict | None = None):
        self.argv = [str(a) for a in argv]
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                dying_with_us(self.argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, ready, timeout: float, what: str) -> None:
        """Waits for ready(); a daemon that ends first, or never gets ready, fails with its log."""

        def probe():
            if not self.alive():
                raise AssertionError(f"{what} ended with {self.process.returncode}\n{log_tail(self.log)}")
            return ready()

        try:
            wait_for(probe, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log_tail(self.log)}") from None

    def kill(self, sig: int = signal.SIGKILL) -> int:
        if self.alive():
            self.process.send_signal(sig)
        return self.process.wait()

    def stop(self, timeout: float = 30) -> int:
        """SIGTERM, then SIGKILL after `timeout` s. The exit code."""
        if self.alive():
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()


class OwnNetNs:
    """A network namespace that this process moves into, with all that it starts from now on: no process more
    for each one that is to be there. For a process that ends with what it tests."""

    def __init__(self):
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare of the network")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def enter(self, argv: list) -> list:
        return [str(a) for a in argv]

    def connect(self, host: str, port: int, timeout: float = 5) -> socket.socket:
        return socket.create_connection((host, port), timeout)

    def close(self) -> None:
        """It ends with the process."""


class NetNs:
    """A network namespace held by one sleeping process. Only the network is private."""

    def __init__(self):
        # The shell tells when it is inside, then becomes the sleeper that holds the namespace.
        script = "echo ready; exec sleep infinity"
        self._holder = subprocess.Popen(
            dying_with_us(["unshare", "--net", "sh", "-c", script]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        said = self._holder.stdout.readline()
        if said != b"ready\n":
            raise AssertionError(f"unshare --net: {said.decode()}")
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        subprocess.run(self.enter(["ip", "link", "set", "lo", "up"]), check=True)

    @property
    def path(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    def enter(self, argv: list) -> list:
        """argv that runs `argv` in this network namespace, and in the host's for all else."""
        return ["nsenter", f"--net={self.path}", "--", *[str(a) for a in argv]]

    def connect(self, host: str, port: int, timeout: float = 5) -> socket.socket:
        """A TCP connection made inside the namespace, usable from outside it."""
        result: list = []

        def work():
            # setns changes this thread only, and the thread ends here.
            if _libc.setns(self._fd, CLONE_NEWNET) != 0:
                result.append(OSError(ctypes.get_errno(), "setns"))
                return
            try:
                result.append(socket.create_connection((host, port), timeout))
            except OSError as error:
                result.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def close(self) -> None:
        if self._holder.poll() is None:
            self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def pids_naming(text: str) -> list[int]:
    """Processes whose command line contains `text` (a private path), this one excepted."""
    found = []
    needle = os.fsencode(str(text))
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        if needle in command_of(entry):
            found.append(int(entry))
    return found


def command_of(pid) -> bytes:
    """Its command line, b"" for none. Without a file object: a crash loop looks at every process in every round."""
    try:
        file = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(file)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    if int(file.read().rsplit(b")", 1)[1].split()[1]) == pid:
                        found.append(int(entry))
            except (OSError, IndexError):
                continue
    return found


def signal_pids(pids, sig: int = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


def wait_gone(pids, timeout: float = 10) -> None:
    """Waits until each process has ended (a zombie that another parent reaps counts as ended)."""

    def ended(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                return file.read().rsplit(b")", 1)[1].split()[0] == b"Z"
        except OSError:
            return True

    wait_for(lambda: all(ended(pid) for pid in pids), timeout, f"end of {list(pids)}")


def mounts_beneath(path) -> list[str]:
    """Mount points at or below path, deepest first."""
    prefix = str(path).rstrip("/")
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == prefix or point.startswith(prefix + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def remove_tree(path) -> None:
    """Unmounts what is mounted beneath path, then deletes it."""
    for point in mounts_beneath(path):
        _libc.umount2(os.fsencode(point), MNT_DETACH)
    left = mounts_beneath(path)
    if left:
        raise AssertionError(f"still mounted: {left}")
    shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    """A TCP port that was free on loopback a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def monotonic_ms() -> float:
    return time.monotonic() * 1000
