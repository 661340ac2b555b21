"""Captures of a volume while a writer changes it, each compared with every instant it may show.

    with Bench("xfs") as bench:           a file system, a fake engine, a daemon, a workload that writes
        bench.session(seed)               several captures and a restore of one tree; raises Mismatch
        print(bench.tally)

With slow=True a tracer holds the daemon back before each call that looks at a file, so that the writer gets
between two of them: what is found must not be put together of two files.

The writer (tests/writer) does the steps of a list one by one and counts them in the volume. lib.treemodel
knows the tree after each. So a capture must be the tree after the step that the captured count names, or
after the one that follows, and that step must have been done between the beginning and the end of the call.
All that a copy must keep is compared, times to the nanosecond.

As a program, to play one session again or many:
    /usr/bin/python3 tests/functional/lib/runningwriter.py KIND SEED [SESSIONS [slow]]
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib import process  # noqa: E402
from lib.cairnd import Cairnd, bin_dir  # noqa: E402
from lib.cheapkey import cheapen  # noqa: E402
from lib.dockerapi import wait_for  # noqa: E402
from lib.engines import FakeDocker, make_small_image  # noqa: E402
from lib.jobs import place, restore, settle, workload  # noqa: E402
from lib.loopfs import LoopFs  # noqa: E402
from lib.stilltree import change_still, make_still  # noqa: E402
from lib.treemodel import Steps, Tree  # noqa: E402
from lib.trees import diff_trees, read_tree  # noqa: E402

KINDS = ("ext4", "xfs", "btrfs")
HEAD, LOOKS = struct.Struct("<QQQq"), struct.Struct("<4q")
DONE, FAILED = 2, 3
COUNTS = (b"count", b"count.map")
SLOW_CALLS, SLOW_US = "lseek,name_to_handle_at,openat,openat2,readlinkat", 200
SETUP = [("create", "count", "600"), ("write", "count", 0, 8, 0), ("create", "count.map", "600"),
         ("write", "count.map", 0, 4096, 0), ("mkdir", "pair", "755"),
         *[step for side in ("now", "next") for step in
           (("mkdir", f"pair/{side}", "755"), ("create", f"pair/{side}/a", "600"), ("create", f"pair/{side}/b", "600"),
            ("write", f"pair/{side}/a", 0, 8, 1), ("write", f"pair/{side}/b", 0, 8, 1))]]


class Mismatch(AssertionError):
    pass


class Run:
    """One list that the writer is at, and its log."""

    def __init__(self, control: Path, tree: Tree, made: list, count: int):
        self.before, self.made, self.count = tree, made, count  # count: the steps of earlier lists
        size = HEAD.size + LOOKS.size * len(made)
        with open(control / "log", "w+b") as file:
            file.truncate(size)
            self.log = mmap.mmap(file.fileno(), size)
        lines = [" ".join(map(str, step)) + " | " + " ".join(looks) for step, looks in made]
        (control / "list.new").write_text("\n".join(lines) + "\n")
        (control / "list.new").rename(control / "list")

    def _head(self):
        return HEAD.unpack_from(self.log, 0)

    def steps(self) -> int:
        return self._head()[1]

    def stop(self):
        self.log[16:24] = struct.pack("<Q", 1)

    def wait(self):
        def over():
            state, steps, _, error = self._head()
            if state == FAILED:
                step = self.made[steps][0]
                raise AssertionError(f"the writer's step {steps}, {step}, failed: {os.strerror(error)}")
            return state == DONE

        wait_for(over, 60, "the writer", pause=0.0005)

    def times(self, index):
        return LOOKS.unpack_from(self.log, HEAD.size + index * LOOKS.size)

    def advance(self, tree, at, to):
        """The tree after `to` steps, from the one after `at`."""
        for index in range(at, to):
            step, looks = self.made[index]
            tree.do(step)
            tree.set_times(looks, self.times(index))
        return tree


class Bench:
    def __init__(self, kind: str, slow: bool = False):
        self.kind, self.slow, self.base = kind, slow, process.memory_dir("writer")
        self.tally = {"sessions": 0, "captures": 0, "restores": 0, "in_motion": 0, "steps_inside": 0}
        self.disk = self.engine = self.cairn = self.tracer = None

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.close(False)
            raise
        return self

    def __exit__(self, kind, *_):
        if kind is not None and self.cairn:
            sys.stderr.write(f"--- cairnd, last lines\n{self.cairn.tail()}\n")
        self.close(kind is None)

    def _make(self):
        for name in ("disk", "engine"):
            (self.base / name).mkdir()
        self.disk = LoopFs(self.kind, 1 << 30, base=self.base / "disk").__enter__()
        self.engine = FakeDocker(base=self.base / "engine").__enter__()
        make_small_image(self.engine, "writer:1", programs={"usr/bin/writer": bin_dir() / "cairn_test_writer"})
        self.cairn = cairn = Cairnd(self.engine, base=self.base, data=self.base / "data")
        cairn.start()
        self.kit = cairn.ok("repo", "key", "export")
        cairn.stop()
        cheapen(self.kit["repository"], self.kit["password"])
        cairn.start()
        cairn.ok("system", "settings", "set", "base_volume_path", self.disk.path)
        cairn.apply(workload(image="writer", command=["writer", "/dev/shm", "/data"]))
        cairn.ok("workload", "deploy", "web")
        self.volume = place(cairn)
        if self.slow:
            self.tracer = process.Daemon(["strace", "-f", "-q", "-o", "/dev/null", "-p", cairn.pid, "-e",
                                          f"trace={SLOW_CALLS}", "-e", f"inject={SLOW_CALLS}:delay_enter={SLOW_US}"],
                                         self.base / "strace.log")
            traced = Path(f"/proc/{cairn.pid}/status")
            self.tracer.wait_until(lambda: f"TracerPid:\t{self.tracer.pid}\n" in traced.read_text(), 20, "strace")

    def close(self, check=True):
        try:
            if check:
                self.cairn.assert_clean()
        finally:
            if self.tracer:
                self.tracer.stop()
            if self.cairn:
                self.cairn.close()
            if self.engine:
                self.engine.close()
            if self.disk:
                self.disk.close()
            process.remove_tree(self.base)

    def control(self) -> Path:
        """Where the writer takes its lists from: seen by nobody else, and not captured."""
        container, = self.engine.client.containers(all=False)
        return Path(f"/proc/{self.engine.client.state(container['Id'])['Pid']}/root/dev/shm")

    # -- what a capture holds -----------------------------------------------------------------------------

    def capture(self) -> dict:
        answer = self.cairn.http("POST", "/api/workloads/web/snapshots", body={})
        assert answer.status == 201, str(answer)
        self.tally["captures"] += 1
        return answer.json()

    def stored(self, made: dict) -> tuple[dict, tuple]:
        """The entries and the two counts of a stored snapshot, extracted beside the volume."""
        target = self.disk.path / "extracted"
        target.mkdir()
        try:
            subprocess.run([bin_dir() / "cairn_repo_tool", "restore", self.kit["repository"],
                            made["repository_snapshot"], "/volumes/0", target], check=True, capture_output=True,
                           env={**os.environ, "CAIRN_REPO_PASSWORD": self.kit["password"]})
            return self.look(target)
        finally:
            shutil.rmtree(target)

    @staticmethod
    def look(root: Path) -> tuple[dict, tuple]:
        entries = read_tree(root)
        counts = tuple(struct.unpack_from("<Q", (root / os.fsdecode(name)).read_bytes())[0] for name in COUNTS)
        now = root / "pair" / "now"
        if (now / "a").read_bytes() != (now / "b").read_bytes():
            raise Mismatch("two files that are always replaced together differ")
        return {name: entry for name, entry in entries.items() if name not in COUNTS}, counts

    def session(self, seed: int):
        try:
            Session(self, seed).play()
        except Mismatch as error:
            raise Mismatch(f"{self.kind}, seed {seed}: {error}\nagain: /usr/bin/python3 {Path(__file__).resolve()} "
                           f"{self.kind} {seed} 50{' slow' if self.slow else ''} "
                           "(the steps are the same, when they are taken is not)") from None
        self.tally["sessions"] += 1


class Session:
    """One tree from its making to a restore: all captures but the first know what the one before found."""

    CAPTURES = 5

    def __init__(self, bench: Bench, seed: int):
        self.bench, self.rng = bench, random.Random(seed)
        self.tree, self.count = Tree(), 0
        self.kept = []  # (snapshot, the tree it shows, what is still, its count)

    def play(self):
        volume = self.bench.volume
        for entry in volume.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for name in os.listxattr(volume):
            os.removexattr(volume, name)
        os.chown(volume, 0, 0)
        os.chmod(volume, 0o755)
        self._set_up(volume)
        self.still = make_still(self.rng, volume / "still")
        self.tree.root.mtime_ns = os.stat(volume).st_mtime_ns
        self._work(self._make(150, 0))
        self._capture_at_rest()
        for number in range(1, self.CAPTURES):
            if self.rng.random() < 0.3:
                self.still = change_still(self.rng, volume / "still")
            if self.rng.random() < 0.25:
                self._work(self._make(20, 0))
                self._capture_at_rest()
            else:
                self._capture_running()
        self._restore(self.rng.choice(self.kept))
        self._capture_running()
        self._work([(("unmap", slot), []) for slot in self.tree.slots])

    def _set_up(self, volume):
        made = []
        for step in SETUP:
            self.tree.do(step)
            made.append(step)
        # The writer needs the two counts before its first step.
        for step in made[:4]:
            path = volume / step[1]
            path.touch(0o600) if step[0] == "create" else path.write_bytes(bytes(step[3]))
        self.tree = Tree()
        for step in made[:4]:
            self.tree.do(step)
        self._work([(step, self._looks_of(step)) for step in made[4:]])

    def _looks_of(self, step):
        return Tree.looks(self.tree, step)

    # -- steps ------------------------------------------------------------------------------------------

    def _make(self, count, sleep_us):
        return Steps(self.rng, self.tree.copy(), Steps.SWAPS if self.bench.slow else None).make(count, sleep_us)

    def _work(self, made):
        """The writer does all of it; the tree is the one after it."""
        if not made:
            return
        run = Run(self.bench.control(), self.tree, made, self.count)
        run.wait()
        self._end(run)

    def _end(self, run):
        self.tree = run.advance(self.tree, 0, run.steps())
        self.count = run.count + run.steps()

    # -- captures -----------------------------------------------------------------------------------------

    def _capture_at_rest(self):
        made = self.bench.capture()
        entries, counts = self.bench.stored(made)
        if counts != (self.count, self.count):
            raise Mismatch(f"the writer rests at {self.count}, captured were {counts}")
        self._expect(entries, [self.tree])
        self.kept.append((made["id"], self.tree.copy(), self.still, counts))

    def _capture_running(self):
        sleep_us = self.rng.choice((1500, 3000) if self.bench.slow else (200, 800))
        run = Run(self.bench.control(), self.tree.copy(), self._make(1500, sleep_us), self.count)
        wait_for(lambda: run.steps() > 0, 20, "the writer's first step", pause=0.0002)
        time.sleep(self.rng.random() * 0.02)
        first = run.steps()
        made = self.bench.capture()
        last = run.steps()
        run.stop()
        run.wait()
        self.bench.tally["steps_inside"] += last - first
        entries, counts = self.bench.stored(made)
        at = counts[1] - run.count
        self.bench.tally["in_motion"] += first < at < len(run.made)
        if counts[0] - counts[1] not in (0, 1):
            raise Mismatch(f"the count is written before its second copy, captured were {counts}")
        if not first <= at <= last + 1:
            raise Mismatch(f"captured is step {at}; the capture began at {first} and ended at {last}")
        tree = self._expect(entries, self._instants(run, at, counts, entries))
        self.kept.append((made["id"], tree, self.still, counts))
        self._end(run)

    def _instants(self, run, at, counts, entries):
        """The trees that a volume may show whose counts are these; entries are what was captured."""
        tree = run.advance(run.before.copy(), 0, at)
        if counts[0] == counts[1]:
            yield tree.copy()
        if at == len(run.made):
            return
        step, looks = run.made[at]
        if step[0] == "store":
            # The time changes when the page becomes writable, the store is made again after that. A pause
            # between the two makes it change once more, so that the writer saw the last of the times only.
            early, latest = tree.copy(), run.times(at)[0]
            seen = entries[looks[0].encode()].mtime_ns if looks and looks[0].encode() in entries else latest
            before = tree.node(looks[0]).mtime_ns if looks else latest
            early.set_times(looks, [seen if before < seen < latest else latest])
            yield early
        yield run.advance(tree, at, at + 1)

    def _expect(self, entries, trees):
        """The one of the trees that was captured."""
        told = []
        for tree in trees:
            expected = {**tree.entries(), **{b"still" + name: entry for name, entry in self.still.items()}}
            for name in COUNTS:
                expected.pop(name, None)
            found = diff_trees(expected, entries)
            if not found:
                return tree
            told.append("\n  ".join(found))
        raise Mismatch("the capture is none of the instants it may be (first: expected, second: captured)\n  "
                       + "\nor\n  ".join(told))

    def _restore(self, kept):
        """What is captured comes back onto the live volume; the next capture knows files that are gone."""
        ident, self.tree, self.still, counts = kept
        settle(self.bench.cairn, restore(self.bench.cairn, ident))
        self.bench.tally["restores"] += 1
        entries, found = self.bench.look(self.bench.volume)
        if found != counts:
            raise Mismatch(f"restored are the counts {found} in place of {counts}")
        self._expect(entries, [self.tree])
        self.tree = self.tree.copy()
        self.tree.slots = {}  # the writer is another process now
        self.count = counts[1]
        undo = self.bench.cairn.ok("restore", "ls", "web")["undos"][0]["id"]
        self.bench.cairn.ok("restore", "discard", undo, "--yes")


def main(kind: str, seed: str, sessions: str = "1", slow: str = ""):
    with Bench(kind, slow == "slow") as bench:
        for _ in range(int(sessions)):
            bench.session(int(seed))
        print(bench.tally)


if __name__ == "__main__":
    main(*sys.argv[1:])
