"""One workload with two volumes, two snapshots and a fake engine: made once, put back for every round.

    with World() as world:                a data directory, volumes and an engine below one directory
        world.reset()                     as it was when it was made; the containers run
        world.cairn.ok("snapshot", ...)   a lib.cairnd.Cairnd that is not started

A copy has new file handles. So a round that needs an undo makes it itself, after the reset.
With disk= (a loopcut.LoopDisk) data and volumes lie on it, and reset() rewinds the disk.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "functional"))

from lib import process  # noqa: E402
from lib.cairnd import Cairnd  # noqa: E402
from lib.cheapkey import cheapen  # noqa: E402
from lib.dockerapi import wait_for  # noqa: E402
from lib.engines import FakeDocker, RealDocker, make_small_image  # noqa: E402
from lib.jobs import fill  # noqa: E402
from lib.trees import read_tree  # noqa: E402

NAME = "web"
# A restored file named "bad" keeps the workload from running.
COMMAND = ["sh", "-c", "test -e /data/bad && exit 3; exec app idle"]
KEPT_BY_ENGINE = ("images", "layers", "cgroup", "engine.json")  # the same before and after a round


class World:
    def __init__(self, engine_class=FakeDocker, disk=None, netns=None):
        self.disk = disk
        self.base = process.memory_dir("crash")  # a real disk: test_daemon_power.py
        self.root = Path(disk.path) if disk else self.base / "disk"
        self.data, self.shared = self.root / "data", self.root / "shared"
        self._saved = self.base / "saved"
        (self.base / "engine").mkdir()
        self.engine = engine_class(base=self.base / "engine", netns=netns)
        self.cairn = Cairnd(self.engine, base=self.base, data=self.data, check=False)
        self.trees = {}      # "second" (live at first), "good", "bad": [tree of /data, tree of /more]
        self.snapshots = {}  # "good", "bad": id
        self.foreign = ""    # the repository's id of a snapshot that restic made of /data as it is in "good"
        self.foreign_path = ""
        self.places = []     # where the volumes are
        self.workload = ""   # id
        self.container = ""  # id at first

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def document(self, name=NAME, **config):
        volumes = [{"source": "data", "target": "/data", "scope": "project"},
                   {"source": str(self.shared / f"{name}-more"), "target": "/more", "scope": "absolute"}]
        full = {"image": "small", "default_tag": "1", "pull": "never", "volumes": volumes, "stop_timeout": 1,
                "command": COMMAND, "healthcheck": "exec:test ! -e /data/bad", **config}
        return {"name": name, "kind": "image", "config": full}

    def _make(self):
        self.root.mkdir(exist_ok=True)
        self.shared.mkdir()
        self.engine.start()
        make_small_image(self.engine, "small:1")
        cairn = self.cairn
        cairn.start()
        cairn.ok("system", "settings", "set", "allowed_volume_paths", self.shared)
        cairn.ok("system", "settings", "set", "health_timeout_s", "3")
        cairn.apply(self.document())
        cairn.ok("workload", "deploy", NAME)
        self.workload = cairn.ok("workload", "show", NAME)["id"]
        self.places = [Path(one["place"]) for one in
                       sorted(cairn.ok("volume", "ls", NAME)["volumes"], key=lambda one: one["target"])]
        for mark in ("good", "bad", "second"):
            for place in self.places:
                fill(place, mark)
            if mark == "bad":
                (self.places[0] / "bad").write_text("the workload does not run on this")
            self.trees[mark] = self.read()
            if mark == "good":
                self.foreign = self._back_up(self.places[0], cairn.ok("repo", "key", "export"))
                self.foreign_path = str(self.places[0])
            if mark != "second":
                self.snapshots[mark] = cairn.ok("snapshot", "create", NAME)["id"]
            (self.places[0] / "bad").unlink(missing_ok=True)
        self.trees["second"] = self.read()
        self.container = self.containers()[0]["Id"]
        kit = cairn.ok("repo", "key", "export")
        assert cairn.stop() == 0
        cheapen(kit["repository"], kit["password"])
        self._save()

    def _back_up(self, path, kit):
        """By restic, into Cairn's repository: the new snapshot's id."""
        env = {**os.environ, "RESTIC_PASSWORD": kit["password"], "RESTIC_REPOSITORY": kit["repository"]}
        argv = ["restic", "--no-cache", "backup", "--quiet", str(path)]
        before = set(os.listdir(self.data / "repo" / "snapshots"))
        subprocess.run(argv, env=env, check=True, capture_output=True)
        made, = set(os.listdir(self.data / "repo" / "snapshots")) - before
        return made

    def _engine_parts(self):
        return [path for path in self.engine.data_root.iterdir() if path.name not in KEPT_BY_ENGINE]

    def _save(self):
        self.engine.kill(containers=True)
        self._saved.mkdir()
        engine = self._saved / "engine"
        engine.mkdir()
        copy(self._engine_parts(), engine)
        if self.disk:
            self.disk.snapshot()
        else:
            copy([self.data, self.shared], self._saved)

    def reset(self):
        """Everything as it was made; the engine and its containers run, no daemon does."""
        self.rest()
        saved, alive = self._saved / "engine", self.engine.daemon.alive()
        if alive:
            self.engine.reset()  # containers hold the volumes
        else:
            self.engine.kill(containers=True)
            for path in self._engine_parts():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            copy(list(saved.iterdir()), self.engine.data_root)
        if self.disk:
            self.disk.rewind()
        else:
            shutil.rmtree(self.data)
            shutil.rmtree(self.shared)
            copy([self._saved / "data", self._saved / "shared"], self.root)
        self.cairn.socket.unlink(missing_ok=True)
        if alive:
            self.engine.rewind(saved)
        else:
            self.engine.start()

    def rest(self):
        """No daemon and nothing that outlives one: between two rounds."""
        if self.cairn.alive():
            self.cairn.kill()
        self.end_watchers()

    def end(self):
        """No daemon, no engine, no containers."""
        self.rest()
        if self.engine.daemon and (self.engine.daemon.alive() or self.engine.container_pids()):
            self.engine.kill(containers=True)

    def end_watchers(self):
        """What outlives a daemon on purpose names the engine's socket on its command line."""
        left = [pid for pid in process.pids_naming(self.engine.socket) if b"pause-watcher" in process.command_of(pid)]
        process.signal_pids(left)
        process.wait_gone(left)

    def close(self):
        try:
            self.end()
        finally:
            self.cairn.close()
            self.engine.close()
            process.remove_tree(self.base)

    # -- looking ----------------------------------------------------------------------------------

    def read(self):
        return [read_tree(place) for place in self.places]

    def containers(self, workload=None):
        """What the engine says of each container of the workload but holders, by inspect."""
        label = f"cairn.workload.id={workload or self.workload}"
        found = self.engine.client.containers(label=label)
        return [self.engine.client.inspect(one["Id"]) for one in found if one["Labels"].get("cairn.role") != "holder"]

    def catalog(self, query, *values):
        """Rows of the catalog, past the daemon."""
        with contextlib.closing(sqlite3.connect(self.data / "catalog.db", timeout=30)) as catalog:
            catalog.row_factory = sqlite3.Row
            return [dict(row) for row in catalog.execute(query, values)]

    def journals(self):
        """Operation id -> states written, oldest first."""
        try:
            names = sorted(os.listdir(self.data / "journal"))
        except FileNotFoundError:
            return {}
        return {name: journal_states(self.data / "journal" / name) for name in names if name.startswith("op_")}

    def staged(self):
        """Directories of staged trees beside the volumes."""
        return sorted(str(path) for place in self.places for path in place.parent.glob(".cairn/*"))

    def get(self, path):
        answer = self.cairn.http("GET", path, timeout=60)
        assert answer.status == 200, f"{path}: {answer}"
        return answer.json()

    def running_operations(self):
        found = self.get("/api/operations?limit=50")["operations"]
        return [one for one in found if one["state"] == "running"]

    def settle(self, timeout=60):
        """Waits until no operation runs; false when the daemon went away meanwhile."""
        try:
            wait_for(lambda: not self.running_operations(), timeout, "the end of all operations")
        except OSError:
            return False
        return True


class RealWorld(World):
    """On the real engine, whose state cannot be copied: each round goes on where the last one ended."""

    def __init__(self):
        super().__init__(RealDocker)

    def _save(self):
        pass

    def reset(self):
        self.end()
        self.engine.start()
        cairn = self.cairn
        cairn.start()
        for undo in self.catalog("SELECT id FROM undos WHERE state = 'available'"):
            cairn.ok("restore", "discard", undo["id"], "--yes")
        for place in self.places:
            for entry in place.iterdir():
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            fill(place, "second")
        self.trees["second"] = self.read()
        self.settle()
        cairn.stop()


def copy(sources, target):
    """As `cp -a`, of small trees: what is copied for every round is copied without a process."""
    links = {}
    for source in sources:
        copy_entry(os.fspath(source), os.path.join(target, os.path.basename(source)), links)


def copy_entry(source, target, links):
    info = os.lstat(source)
    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
        if (first := links.setdefault((info.st_dev, info.st_ino), target)) != target:
            os.link(first, target, follow_symlinks=False)
            return
    if stat.S_ISDIR(info.st_mode):
        os.mkdir(target)
        for name in os.listdir(source):
            copy_entry(os.path.join(source, name), os.path.join(target, name), links)
    elif stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(info.st_mode):
        shutil.copyfile(source, target)
    else:
        os.mknod(target, info.st_mode, info.st_rdev)
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def journal_records(path):
    """(state, JSON text) of each record of a journal: the layout is in docs/formats.md."""
    found, content, offset = [], Path(path).read_bytes(), 0
    while offset + 48 <= len(content):
        magic, number, state, body = struct.unpack_from("<IIII", content, offset)
        if magic != 0x314A4E43 or number != len(found):
            break
        text = content[offset + 48:offset + 48 + state + body]
        if hashlib.sha256(content[offset:offset + 16] + text).digest() != content[offset + 16:offset + 48]:
            break  # torn: as if it had not been written
        found.append((text[:state].decode(), text[state:].decode()))
        offset += (48 + state + body + 4095) // 4096 * 4096
    return found


def journal_states(path):
    try:
        return [state for state, _ in journal_records(path)]
    except FileNotFoundError:
        return []


def answer_json(answer):
    try:
        return json.loads(answer.stdout)
    except ValueError:
        return {}
