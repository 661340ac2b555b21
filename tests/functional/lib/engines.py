"""Container engines and registries that tests start for themselves, on private paths.

RealDocker  Debian's dockerd with its own data, exec root, containerd and network namespace
FakeDocker  tests/engine/fake_engine.py behind the same interface
Registry    docker-registry on loopback inside an engine's network namespace

Whatever must reach a container's address (cairnd, psql) is started as `engine.enter(argv)`.
"""

from __future__ import annotations

import os
import secrets
import sys
import warnings
from pathlib import Path

from . import process
from .cairnd import Cairnd  # noqa: F401
from .dockerapi import EngineClient, wait_for
from .images import make_empty_image, make_postgres_image, make_small_image  # noqa: F401  (part of this face)
from .loopfs import LoopFs  # noqa: F401
from .process import Daemon, NetNs
from .trees import diff_trees, tree_digest  # noqa: F401

with warnings.catch_warnings():
    # Only Python 3.13 is without it; Debian 12 has 3.11.
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt

process.interrupt_on_sigterm()

TESTS = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"


class _Engine:
    """What the real and the fake engine have in common. A context manager."""

    kind = ""

    def __init__(self, base=None, netns: NetNs | None = None):
        self._own_base = base is None
        self.base = Path(base) if base else process.scratch_dir(self.kind)
        self.socket = self.base / "docker.sock"
        self.log = self.base / "engine.log"
        self._own_netns = netns is None
        self.netns = netns or NetNs()
        self.daemon: Daemon | None = None
        self.client = EngineClient(self.socket)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self.daemon is not None
        return self.daemon.pid

    def enter(self, argv) -> list:
        """argv that runs `argv` where the engine's containers can be reached."""
        return self.netns.enter(argv)

    def connect(self, host: str, port: int, timeout: float = 5):
        return self.netns.connect(host, port, timeout)

    def _argv(self) -> list:
        raise NotImplementedError

    def start(self, wait: bool = True) -> None:
        assert self.daemon is None or not self.daemon.alive(), "already running"
        self.daemon = Daemon(self.enter(self._argv()), self.log)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 60) -> None:
        def ready():
            try:
                return self.client.get("/_ping", timeout=5).status == 200
            except OSError:
                return False

        self.daemon.wait_until(ready, timeout, f"{self.kind} engine")

    def stop(self) -> None:
        """A clean stop (SIGTERM): the engine stops its containers."""
        self.daemon.stop(60)

    def restart(self) -> None:
        """A clean stop and start, as `systemctl restart docker`."""
        self.stop()
        self.start()

    def tail(self, lines: int = 60) -> str:
        return process.log_tail(self.log, lines)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is not None:
            sys.stderr.write(f"--- {self.kind} engine, last lines of {self.log}\n{self.tail()}\n")
        self.close()

    def _end_processes(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Ends every process of this engine, unmounts, deletes."""
        self._end_processes()
        if self._own_netns:
            self.netns.close()
        if self._own_base:
            process.remove_tree(self.base)


def _remove_cgroups(top: Path) -> None:
    def gone():
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                return False  # a process in it is still ending
        return True

    wait_for(gone, 5, f"removal of {top}")


class RealDocker(_Engine):
    """dockerd with all its places beneath one scratch directory."""

    kind = "docker"

    def __init__(self, base=None, netns=None, extra_args=()):
        super().__init__(base, netns)
        self.data_root = self.base / "data"
        self.exec_root = self.base / "exec"
        self.extra_args = list(extra_args)
        self._cgroup = f"cairn-test-{secrets.token_hex(4)}"

    @property
    def volumes_root(self) -> Path:
        return self.data_root / "volumes"

    def _argv(self) -> list:
        # A killed engine's helpers may be zombies until init gets to them; dockerd takes a zombie
        # for a running containerd and waits for it in vain.
        (self.base / "docker.pid").unlink(missing_ok=True)
        (self.exec_root / "containerd" / "containerd.pid").unlink(missing_ok=True)
        (self.base / "daemon.json").write_text("{}")
        return [
            "/usr/sbin/dockerd",
            f"--config-file={self.base / 'daemon.json'}",  # never the machine's own file
            f"--data-root={self.data_root}",
            f"--exec-root={self.exec_root}",
            f"--pidfile={self.base / 'docker.pid'}",
            f"--host=unix://{self.socket}",
            f"--cgroup-parent=/{self._cgroup}",
            "--log-level=warn",
            *self.extra_args,
        ]

    def _containerd(self) -> list[int]:
        return process.pids_naming(self.exec_root / "containerd" / "containerd.toml")

    def shims(self) -> list[int]:
        return process.pids_naming(self.exec_root / "containerd" / "containerd.sock")

    def container_pids(self) -> list[int]:
        return [child for shim in self.shims() for child in process.children_of(shim)]

    def kill(self, containers: bool = False) -> None:
        """SIGKILL. containerd dies with dockerd; containers go on under their shims unless `containers`."""
        helpers = self._containerd()
        self.daemon.kill()
        process.wait_gone(helpers)
        if containers:
            self._end_containers()

    def _end_containers(self) -> None:
        # A shim first: it would otherwise report and clean up. A frozen container dies once thawed.
        shims = self.shims()
        inits = [child for shim in shims for child in process.children_of(shim)]
        process.signal_pids(shims)
        process.signal_pids(inits)
        for state in Path(f"/sys/fs/cgroup/freezer/{self._cgroup}").glob("*/freezer.state"):
            state.write_text("THAWED")
        process.wait_gone(shims + inits)

    def _end_processes(self) -> None:
        if self.daemon is not None:
            helpers = self._containerd()
            self.daemon.kill()
            process.wait_gone(helpers)
        self._end_containers()
        for top in Path("/sys/fs/cgroup").glob(f"*/{self._cgroup}"):
            _remove_cgroups(top)


class FakeDocker(_Engine):
    """The fake engine. Its containers share its network namespace."""

    kind = "fake"

    def __init__(self, base=None, netns=None, extra_args=()):
        super().__init__(base, netns)
        self.data_root = self.base / "data"
        self.extra_args = list(extra_args)

    @property
    def volumes_root(self) -> Path:
        return self.data_root / "volumes"

    def _argv(self) -> list:
        script = TESTS / "engine" / "fake_engine.py"
        return [PYTHON, "-IS", script, "--root", self.data_root, "--socket", self.socket, "--owner", os.getpid(),
                *self.extra_args]

    def container_pids(self) -> list[int]:
        found = []
        for file in (self.data_root / "containers").glob("*/pid"):
            try:
                found.append(int(file.read_text().split()[0]))
            except (OSError, ValueError, IndexError):
                continue
        return [pid for pid in found if os.path.exists(f"/proc/{pid}")]

    def _own_cgroup(self) -> Path | None:
        """None where the engine ended before it had one."""
        record = self.data_root / "cgroup"
        return Path(record.read_text()) if record.exists() else None

    def _spawners(self) -> list[int]:
        return [pid for pid in process.pids_naming(self.data_root) if pid != self.pid]

    def kill(self, containers: bool = False) -> None:
        """SIGKILL of the engine; its containers go on unless `containers`."""
        self.daemon.kill()
        if containers:
            self._end_containers()

    def _end_containers(self) -> None:
        # The spawner first, as the real engine's shims: it would otherwise record the exits, or make
        # one more. Then by cgroup: what a spawner died over has no pid file yet.
        spawners = self._spawners()
        process.signal_pids(spawners)
        process.wait_gone(spawners)
        cgroup = self._own_cgroup()
        files = cgroup.glob("*/cgroup.procs") if cgroup else []
        inits = [int(pid) for file in files for pid in file.read_text().split()]
        process.signal_pids(inits)
        process.wait_gone(inits)

    def _end_processes(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self._end_containers()
        if cgroup := self._own_cgroup():
            _remove_cgroups(cgroup)

    # -- what only the fake offers: faults, calls, images that need no push ---------

    def fault(self, action: str, method: str = "", path: str = "", nth: int = 1, **more) -> None:
        """The nth call (from now) that matches does `action`: status, hang, drop, drop_after, delay, exit."""
        body = {"action": action, "method": method, "path": path, "nth": nth, **more}
        self.client._check("fault", self.client.post("/fake/faults", body), 201)

    def clear_faults(self) -> None:
        self.client._check("faults", self.client.delete("/fake/faults"), 204)

    def reset(self) -> None:
        """Removes every container, volume, network, fault and recorded call; images stay."""
        self.client._check("reset", self.client.post("/fake/reset"), 204)

    def rewind(self, saved) -> None:
        """Everything but images as in a copy of the data root made while no engine ran."""
        self.client._check("rewind", self.client.post("/fake/rewind", {"saved": str(saved)}), 204)

    def calls(self) -> list:
        """Every call so far, oldest first: {"method","path","status"}."""
        return self.client.get("/fake/calls").json()


class Registry:
    """docker-registry with its own storage, on 127.0.0.1 of an engine's network namespace.

    login: (user, password) that it asks for; set another and restart() to rotate it.
    """

    def __init__(self, engine: _Engine, base=None, login: tuple | None = None):
        self.engine = engine
        self.login = login
        self._own_base = base is None
        self.base = Path(base) if base else process.scratch_dir("registry")
        self.port = 20000 + secrets.randbelow(20000)
        self.log = self.base / "registry.log"
        self.daemon: Daemon | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def image(self, repo: str, tag: str) -> str:
        return f"{self.address}/{repo}:{tag}"

    def publish(self, source: str, repo: str, tag: str) -> str:
        """Tags and pushes a local image; returns the digest the registry gave it."""
        target = self.image(repo, tag)
        self.engine.client.tag(source, target)
        return self.engine.client.push(target, self.login)

    def start(self) -> None:
        storage = self.base / "storage"
        storage.mkdir(exist_ok=True)
        config = self.base / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: {self.address}}}\n" + self._auth()
        )
        self.daemon = Daemon(self.engine.enter(["/usr/bin/docker-registry", "serve", config]), self.log)

        def ready():
            try:
                self.engine.connect("127.0.0.1", self.port, 2).close()
                return True
            except OSError:
                return False

        self.daemon.wait_until(ready, 30, "docker-registry")

    def _auth(self) -> str:
        """The part of the config that asks for the login; the file of logins is written."""
        if self.login is None:
            return ""
        user, password = self.login
        hashed = crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
        (self.base / "htpasswd").write_text(f"{user}:{hashed}\n")
        return f"auth: {{htpasswd: {{realm: test, path: {self.base / 'htpasswd'}}}}}\n"

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop(10)

    def kill(self) -> None:
        self.daemon.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is not None:
            sys.stderr.write(f"--- registry, last lines\n{process.log_tail(self.log)}\n")
        self.close()

    def close(self) -> None:
        self.stop()
        if self._own_base:
            process.remove_tree(self.base)


class FakeRegistry:
    """The fake engine's stand-in for registries, with the face of Registry."""

    address = "registry.test:5000"

    def __init__(self, engine: FakeDocker):
        self.engine = engine

    login = None
    image = Registry.image
    publish = Registry.publish

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass


def make_registry(engine: _Engine):
    """A registry that this engine can push to and pull from."""
    return FakeRegistry(engine) if isinstance(engine, FakeDocker) else Registry(engine)


def make_engine(kind: str, **options) -> _Engine:
    return {"real": RealDocker, "fake": FakeDocker}[kind](**options)


__all__ = [
    "Cairnd",
    "EngineClient",
    "FakeDocker",
    "LoopFs",
    "RealDocker",
    "Registry",
    "diff_trees",
    "FakeRegistry",
    "make_empty_image",
    "make_engine",
    "make_postgres_image",
    "make_registry",
    "make_small_image",
    "tree_digest",
    "wait_for",
]
