"""The operations of a daemon as scenarios of daemonlib: one class an operation, all in one World.

A scenario says what it does (before, act), which trees may be live after it (marks) and how the
answer binds (promised). The rest is the same for all and is in Operation.
"""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

from crashlib import COUNT_ONLY, wait_until
from daemon_checks import (BACK, FORWARD, Wreck, check_containers, check_fsck, check_journals, check_order,
                           check_policies_first, check_snapshots, check_undos, live_mark)
from daemon_world import NAME, answer_json
from daemonlib import DaemonScenario
from lib.dockerapi import wait_for
from lib.jobs import fill
from lib.trees import diff_trees, read_tree

ANSWER_S = 120


class Operation(DaemonScenario):
    marks = ("second",)      # states that the volumes may be in afterwards
    old, new = "second", ""  # where the operation exchanges data: from, to
    journal_kind = ""        # of its transaction's journal
    removes = ()             # names of snapshots that may be gone afterwards
    spare = ("cairnd", "exe")  # the pause's watcher
    views = True             # false where the volumes are made anew under running containers
    patient = True           # it must get over a fault without a restart, too
    part = 1                 # ./dev test plays one of so many cases: where another operation goes nearly the same way

    def __init__(self, world, log=None):
        self.world, self.log = world, log
        self.injection = COUNT_ONLY
        self.wreck = None
        self.last = None

    # -- what a scenario defines --------------------------------------------------------------

    def before(self):
        """What must be there, done by the daemon that is then disturbed."""

    def act(self):
        """The operation: a CompletedProcess of the command line."""
        raise NotImplementedError

    def promised(self, answer, mark):
        """Asserts what a good answer said; `mark` is the state that is live."""

    def refused(self, problem, mark):
        """Asserts what a failure that the daemon told said."""
        if problem.get("data") in ("old", "new") and self.new:
            expected = self.old if problem["data"] == "old" else self.new
            assert mark == expected, f"it said that the {problem['data']} data is live; {mark} is"

    # -- daemonlib ----------------------------------------------------------------------------

    def prepare(self):
        self.world.reset()
        self.wreck = self.last = None
        return self.world

    def argv(self, _state):
        return self.world.cairn.argv()

    def watched(self, _state):
        return [self.world.data, self.world.shared, self.world.engine.socket]

    def ready(self, _state):
        return self.world.cairn.ready()

    def cli(self, *words):
        return self.world.cairn.cli(*words, timeout=ANSWER_S)

    def ok(self, *words):
        return self.world.cairn.ok(*words, timeout=ANSWER_S)

    def operate(self, _state):
        answer = self.act()
        self.world.settle()
        return answer

    def run(self, state, injection, **options):
        self.injection = injection
        with self.traced(state, **options) as daemon:
            wait_until(lambda: self.ready(state), "the daemon", self.ready_s, alive=lambda: daemon.alive)
            self.before()
            self.world.settle()
            daemon.arm(injection)
            answer = self.operate(state)
            if self.patient and injection.at % 2 == 0 and not injection.mode.startswith("kill") \
                    and daemon.disarm() is not None:
                wait_until(lambda: self.ready(state), "the end of recovery without a restart", 30,
                           alive=lambda: daemon.alive)
            run = daemon.end()
        run.answer = answer
        self.last = run
        self.between(run)
        return run

    def between(self, run):
        """The daemon is dead and the next one not started."""
        if run.killed and self.spare:
            wait_for(lambda: not self.paused(), 15, "the watcher, which thaws without the daemon")
        self.wreck = Wreck(self.world)

    def paused(self):
        return [one["Name"] for one in self.world.containers() if one["State"]["Paused"]]

    def recover(self, state, injection=None):
        run = super().recover(state, injection)
        if injection is not None and run.killed:
            # What the first recovery had done it may have told; the next one tells the rest.
            first, self.wreck = self.wreck, Wreck(self.world)
            self.wreck.last_event = first.last_event if first else 0
        return run

    def recovered(self, _state):
        world = self.world
        assert world.settle(), "the daemon ended"
        check_fsck(world)
        check_journals(world)
        mark = live_mark(world, self.marks)
        check_containers(world, world.workload, looping=mark == "bad", views=self.views)
        check_snapshots(world, [ident for name, ident in world.snapshots.items() if name not in self.removes])
        self.check_undos(mark)
        if self.wreck:
            self.wreck.check_told(world)
            self.check_direction(mark)
        if self.last is not None and self.last.answer is not None:
            self.check_answer(self.last.answer, mark)

    def check_undos(self, _mark):
        check_undos(self.world)

    def check_direction(self, mark):
        state = self.wreck.state_of(self.journal_kind) if self.journal_kind else ""
        if state in BACK:
            assert mark == self.old, f"a journal in {state} must lead back"
        if state in FORWARD:
            assert mark == self.new, f"a journal in {state} must lead forward"

    def check_answer(self, answer, mark):
        if answer.returncode == 0:
            self.promised(answer_json(answer), mark)
        elif answer_json(answer).get("status"):
            self.refused(answer_json(answer), mark)

    def check(self, state, run):
        """The checks are made while the restarted daemon serves: recovered()."""
        if run.answer is not None and run.calls and not run.fired and self.injection.at == 0:
            self.check_undisturbed(run.answer)

    def check_undisturbed(self, answer):
        assert answer.returncode == 0, f"undisturbed, it failed: {answer.stdout}{answer.stderr}"

    def cleanup(self, state):
        """What is left ends with the next reset, or with the World."""


class Capture(Operation):
    consistency = "paused"

    def act(self):
        return self.cli("snapshot", "create", NAME, "--consistency", self.consistency)

    def promised(self, answer, mark):
        rows = self.world.catalog("SELECT state FROM snapshots WHERE id = ?", answer["id"])
        assert rows and rows[0]["state"] == "stored", f"snapshot {answer['id']} was promised: {rows}"


class CaptureStopped(Capture):
    consistency = "stopped"


class CaptureAtOnce(Capture):
    """Without passes, held against the capture before."""
    part = 3  # as Capture, but for the passes

    def before(self):
        self.ok("snapshot", "create", NAME)


class CaptureGivesUp(CaptureAtOnce):
    """A cut at once meets more than it takes: the workload goes on, and the capture begins again with passes."""
    marks = ("grown",)

    def before(self):
        super().before()
        with open(self.world.places[0] / "grown", "wb") as file:
            file.truncate(33 << 20)
        self.world.trees["grown"] = self.world.read()


class CaptureHooks(Capture):
    """With commands before and after the cut: where the first may have run, the second has."""

    def act(self):
        return self.cli("snapshot", "create", NAME, "--pre", "touch /tmp/pre", "--post", "touch /tmp/post")

    def recovered(self, state):
        super().recovered(state)
        inside = Path(f"/proc/{self.world.containers()[0]['State']['Pid']}/root/tmp")
        ran = {path.name for path in inside.iterdir()}
        assert "pre" not in ran or "post" in ran, f"of the two commands, these ran: {ran}"


class Import(Operation):
    """Of an archive with both volumes: nothing of the workload is touched."""

    def before(self):
        self.archive = self.world.base / "import.tar"
        manifest = {"version": 1, "volumes": [{"index": index, "target": target, "scope": "project", "source": "data"}
                                              for index, target in enumerate(("/data", "/more"))]}
        with tarfile.open(self.archive, "w", format=tarfile.PAX_FORMAT) as tar:
            add_file(tar, "manifest.json", json.dumps(manifest).encode())
            for index in range(2):
                add_directory(tar, f"volumes/{index}")
                add_directory(tar, f"volumes/{index}/deep")
                add_file(tar, f"volumes/{index}/deep/leaf", b"imported" * 1000)

    def act(self):
        return self.cli("snapshot", "import", NAME, self.archive)

    promised = Capture.promised

    def recovered(self, state):
        super().recovered(state)
        left = os.listdir(self.world.data / "import") if (self.world.data / "import").exists() else []
        assert not left, f"imports left {left}"


class Restore(Operation):
    marks = ("second", "good")
    old, new = "second", "good"
    journal_kind = "restore"
    snapshot = "good"
    options = ()
    engine_calls = ()

    def act(self):
        return self.cli("snapshot", "restore", NAME, self.world.snapshots[self.snapshot], "--yes", *self.options)

    def check(self, state, run):
        super().check(state, run)
        check_order(run.calls)
        check_policies_first(self.engine_calls)

    def between(self, run):
        self.engine_calls = self.world.engine.calls()
        super().between(run)

    def promised(self, answer, mark):
        assert mark == self.new, f"{answer.get('status')} was answered and {mark} is live"
        rows = self.world.catalog("SELECT state FROM undos WHERE id = ?", answer["undo"])
        assert rows and rows[0]["state"] == "available", f"undo {answer['undo']} was promised: {rows}"

    def check_undos(self, mark):
        undos = check_undos(self.world, self.old if mark == self.new else None)
        assert len(undos) == (1 if mark == self.new else 0), f"{mark} is live with undos {undos}"


class RestoreOnly(Restore):
    """One of two volumes: the other is in no journal, no undo, and never moves."""
    marks = ("second", "half")
    new = "half"
    options = ("--only", "/data")
    part = 3

    def prepare(self):
        state = super().prepare()
        trees = self.world.trees
        trees["half"] = [trees["good"][0], trees["second"][1]]
        self.alone = os.stat(self.world.places[1]).st_ino
        return state

    def recovered(self, state):
        super().recovered(state)
        assert os.stat(self.world.places[1]).st_ino == self.alone, "the volume that was left out was exchanged"

    def promised(self, answer, mark):
        super().promised(answer, mark)
        assert answer["untouched"] == ["/more"], f"{answer}"


class RestoreUnhealthy(Restore):
    """The restored data keeps the workload from running: the old data comes back."""
    marks = ("second",)
    new = "bad"
    snapshot = "bad"

    def check_undisturbed(self, answer):
        assert answer.returncode == 1 and answer_json(answer).get("data") == "old", f"{answer.stdout}"


class RestoreKeep(Restore):
    """The same with --on-failure keep: where the workload has started on it, the new data stays."""
    marks = ("second", "bad")
    new = "bad"
    snapshot = "bad"
    options = ("--on-failure", "keep")
    part = 3  # as RestoreUnhealthy, up to the verdict

    def check_undisturbed(self, answer):
        assert answer.returncode == 1 and answer_json(answer).get("data") == "new", f"{answer.stdout}"


class AlsoStop(Restore):
    """Another container on the parent directory, which the restore stops and starts again."""
    options = ("--also-stop", "other")
    part = 2

    def before(self):
        client = self.world.engine.client
        other = client.create("small:1", name="other", HostConfig={
            "Binds": [f"{self.world.places[0].parent}:/all"], "RestartPolicy": {"Name": "unless-stopped"}})
        client.start(other)

    def recovered(self, state):
        super().recovered(state)
        other = self.world.engine.client.inspect("other")
        assert other["State"]["Running"] and not other["State"]["Paused"], "the other container does not run again"
        policy = other["HostConfig"]["RestartPolicy"]["Name"]
        assert policy == "unless-stopped", f"the other container has restart policy {policy}"


class RestoreNamed(Operation):
    """A volume of the engine's, kept by a holder container while its undo exists. The World's own workload
    is untouched; what is at stake belongs to another."""

    old, new = "second", "good"
    journal_kind = "restore"
    part = 4  # as Restore, but for the holder
    volume = {"target": "/data", "scope": "named", "name": "store"}
    holder = True

    @property
    def root(self):
        return self.world.engine.volumes_root / "store" / "_data"

    @property
    def home(self):
        """Where .cairn lies."""
        return self.root.parent

    def contents(self, root):
        return read_tree(root)

    def watched(self, state):
        return [*super().watched(state), self.world.engine.volumes_root]

    def before(self):
        self.world.cairn.apply(self.world.document("store", volumes=[self.volume]))
        self.ok("workload", "deploy", "store")
        self.store = self.ok("workload", "show", "store")["id"]
        self.trees = {}
        for mark in ("good", "second"):
            fill(self.root, mark)
            self.trees[mark] = self.contents(self.root)
            if mark == "good":
                self.snapshot = self.ok("snapshot", "create", "store")["id"]

    def act(self):
        return self.cli("snapshot", "restore", "store", self.snapshot, "--yes")

    def live(self):
        """The state that the engine's volume is in."""
        now = self.contents(self.root)
        found = {mark: diff_trees(tree, now) for mark, tree in self.trees.items()}
        for mark, differences in found.items():
            if not differences:
                return mark
        raise AssertionError(f"the volume is in none of the states: {found}")

    def check_direction(self, _mark):
        super().check_direction(self.live())

    def check_answer(self, answer, _mark):
        super().check_answer(answer, self.live())

    def promised(self, answer, mark):
        assert mark == self.new, f"{answer.get('status')} was answered and {mark} is live"
        rows = self.world.catalog("SELECT state FROM undos WHERE id = ?", answer["undo"])
        assert rows and rows[0]["state"] == "available", f"undo {answer['undo']} was promised: {rows}"

    def check_undos(self, _mark):
        undos = check_undos(self.world)
        assert len(undos) == (1 if self.live() == self.new else 0), f"{self.live()} is live with undos {undos}"
        holders = [one["Names"][0] for one in self.world.engine.client.containers(label="cairn.role=holder")]
        wanted = [f"/cairn-holder-{undo['id']}" for undo in undos if self.holder]
        assert holders == wanted, f"holders {holders}, undos {undos}"
        staged = sorted(path.name for path in self.home.glob(".cairn/*"))
        named = sorted(pair["staged_in"] for undo in undos for pair in json.loads(undo["volumes_json"]))
        assert staged == named, f"staged beside the volume are {staged}, undos name {named}"
        for undo in undos:
            pair, = json.loads(undo["volumes_json"])
            aside = self.contents(self.home / ".cairn" / pair["staged_in"] / pair["staged_name"])
            found = diff_trees(self.trees[self.old], aside)
            assert not found, f"the tree of undo {undo['id']} changed: {found}"

    def recovered(self, state):
        super().recovered(state)
        check_containers(self.world, self.store)


class UndoNamed(RestoreNamed):
    old, new = "good", "second"
    journal_kind = "undo"

    def before(self):
        super().before()
        self.undo = self.ok("snapshot", "restore", "store", self.snapshot, "--yes")["undo"]

    def act(self):
        return self.cli("restore", "undo", self.undo, "--yes")

    def check_undos(self, _mark):
        # Where it led back, the first undo and its holder are there as before.
        live, keep = self.live(), (self.old, self.new)
        if live == self.old:
            self.old, self.new = self.new, self.old
        try:
            super().check_undos(_mark)
        finally:
            self.old, self.new = keep


class Mounted:
    """Before RestoreNamed or UndoNamed: the volume's root is a mount point, so its entries are moved one by one."""

    part = 4
    holder = False

    @property
    def root(self):
        return self.world.shared / "mounted"

    home = root

    @property
    def volume(self):
        return {"source": str(self.root), "target": "/data", "scope": "absolute"}

    def contents(self, root):
        # Of a root's mtime nothing is promised: making and removing .cairn changes it.
        entries = read_tree(root, skip=(".cairn",))
        entries[b"."].mtime_ns = 0
        return entries

    def prepare(self):
        self.unmount()
        return super().prepare()

    def before(self):
        self.root.mkdir()
        subprocess.run(["mount", "--bind", self.root, self.root], check=True)
        super().before()

    def cleanup(self, state):
        super().cleanup(state)
        self.unmount()

    def unmount(self):
        if os.path.ismount(self.root) or str(self.root) in Path("/proc/self/mounts").read_text().split():
            subprocess.run(["umount", "--lazy", self.root], check=True)


class RestoreMounted(Mounted, RestoreNamed):
    pass


class UndoMounted(Mounted, UndoNamed):
    pass


class Undo(Operation):
    marks = ("good", "second")
    old, new = "good", "second"
    journal_kind = "undo"

    def before(self):
        done = self.ok("snapshot", "restore", NAME, self.world.snapshots["good"], "--yes")
        self.world.settle()
        self.undo = done["undo"]

    def act(self):
        return self.cli("restore", "undo", self.undo, "--yes")

    def promised(self, answer, mark):
        assert mark == "second", f"undone was answered and {mark} is live"
        rows = self.world.catalog("SELECT state FROM undos WHERE id = ?", answer["undo"])
        assert rows and rows[0]["state"] == "available", f"undo {answer['undo']} was promised: {rows}"

    def check_undos(self, mark):
        undos = check_undos(self.world, "good" if mark == "second" else "second")
        assert len(undos) == 1, f"{mark} is live with undos {undos}"


class Discard(Operation):
    marks = ("good",)

    def before(self):
        Undo.before(self)

    def act(self):
        return self.cli("restore", "discard", self.undo, "--yes")

    def promised(self, answer, _mark):
        rows = self.world.catalog("SELECT state FROM undos WHERE id = ?", self.undo)
        assert rows[0]["state"] == "discarded", f"{answer}: {rows}"

    def check_undos(self, _mark):
        check_undos(self.world, "second")


class RemoveSnapshot(Operation):
    removes = ("good",)

    def act(self):
        return self.cli("snapshot", "rm", NAME, self.world.snapshots["good"], "--yes")

    def promised(self, answer, _mark):
        rows = self.world.catalog("SELECT id FROM snapshots WHERE id = ?", self.world.snapshots["good"])
        assert not rows, "the snapshot was answered as removed and is there"


class Adopt(Operation):
    """A snapshot that restic made becomes the workload's: wholly or not at all, and restic's stays."""

    def act(self):
        return self.cli("snapshot", "adopt", NAME, self.world.foreign, "--map", f"{self.world.foreign_path}=/data")

    def promised(self, answer, _mark):
        rows = self.world.catalog("SELECT state FROM snapshots WHERE id = ?", answer["id"])
        assert rows and rows[0]["state"] == "stored", f"snapshot {answer['id']} was promised: {rows}"

    def recovered(self, state):
        super().recovered(state)
        rows = self.world.catalog("SELECT * FROM snapshots")
        named = {row["repository_snapshot"] for row in rows}
        there = set(os.listdir(self.world.data / "repo" / "snapshots"))
        assert there == named | {self.world.foreign}, f"of {named} and restic's own there are {there}"
        for row in rows:
            if row["reason"] == "adopted":
                assert row["adopted_from"] == self.world.foreign and row["files"] > 0, f"{row}"


class FirstDeploy(Operation):
    def before(self):
        self.world.cairn.apply(self.world.document("fresh"))
        self.fresh = self.ok("workload", "show", "fresh")["id"]

    def act(self):
        return self.cli("workload", "deploy", "fresh")

    def promised(self, answer, _mark):
        assert len(self.world.containers(self.fresh)) == 1, f"{answer['status']} was answered"

    def recovered(self, state):
        super().recovered(state)
        check_containers(self.world, self.fresh)


class Redeploy(Operation):
    """Stop-first, since its volumes are writable."""
    config = {"env": {"CHANGED": "yes"}}

    def before(self):
        self.world.cairn.apply(self.world.document(**self.config))

    def act(self):
        return self.cli("workload", "deploy", NAME)

    def containers(self):
        return {one["Id"] for one in self.world.containers()}

    def promised(self, answer, _mark):
        rows = self.world.catalog("SELECT state FROM releases WHERE id = ?", answer["release"]["id"])
        assert rows and rows[0]["state"] == "running", f"{answer['status']} was answered: {rows}"
        assert self.containers() != {self.world.container}, "the old container still runs"

    def recovered(self, state):
        super().recovered(state)
        current = self.world.catalog("SELECT releases.state FROM releases JOIN instances"
                                     " ON instances.release_id = releases.id WHERE releases.workload_id = ?",
                                     self.world.workload)
        assert [row["state"] for row in current] == ["running"], f"{current}"
        releases = self.world.catalog("SELECT state FROM releases WHERE workload_id = ? ORDER BY created_ms",
                                      self.world.workload)
        if releases[0]["state"] == "running":
            assert self.containers() == {self.world.container}, "the old release runs, its old container does not"


class RedeployOverlap(Redeploy):
    config = {"env": {"CHANGED": "yes"}, "handover": "overlap"}


class RedeployFailing(Redeploy):
    # Never healthy: a machine under load may probe it in the moment before it exits.
    config = {"command": ["sh", "-c", "exit 3"], "healthcheck": "exec:test -e /data/absent"}

    def before(self):
        super().before()
        self.ok("system", "settings", "set", "health_timeout_s", "1")  # waited for in every round

    def check_undisturbed(self, answer):
        assert answer.returncode == 1, f"{answer.stdout}"
        assert self.containers() == {self.world.container}


class RemoveWorkload(Operation):
    def act(self):
        return self.cli("workload", "rm", NAME, "--yes")

    def promised(self, _answer, _mark):
        assert not self.world.catalog("SELECT id FROM workloads WHERE id = ?", self.world.workload), \
            "the workload was answered as removed and is there"


class Stop(Operation):
    def act(self):
        return self.cli("workload", "stop", NAME)

    wanted = "stopped"

    def promised(self, _answer, _mark):
        rows = self.world.catalog("SELECT desired FROM workloads WHERE id = ?", self.world.workload)
        assert rows[0]["desired"] == self.wanted, f"{rows} after a good answer"


class Start(Stop):
    wanted = "running"

    def before(self):
        self.ok("workload", "stop", NAME)

    def act(self):
        return self.cli("workload", "start", NAME)


class StartStuck(Start):
    """The engine can never start the container again, so another is made from its release in its place."""

    def before(self):
        super().before()
        stuck = self.world.container
        self.world.engine.fault("status", method="POST", path=f"{stuck}/start$", status=409, times=0,
                                message=f"task {stuck}: already exists")

    def promised(self, answer, mark):
        super().promised(answer, mark)
        there = {one["Id"] for one in self.world.containers()}
        assert self.world.container not in there, "the container that never starts is still there"

    def cleanup(self, state):
        self.world.engine.clear_faults()
        super().cleanup(state)


def add_file(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def add_directory(tar, name):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(info)


OPERATIONS = {scenario.__name__: scenario for scenario in (
    Capture, CaptureAtOnce, CaptureGivesUp, CaptureStopped, CaptureHooks, Adopt, Import, Restore, RestoreOnly,
    RestoreUnhealthy, RestoreKeep, AlsoStop,
    RestoreNamed, UndoNamed, RestoreMounted, UndoMounted, Undo, Discard, RemoveSnapshot, FirstDeploy, Redeploy,
    RedeployOverlap, RedeployFailing, RemoveWorkload, Stop, Start,
    StartStuck)}
