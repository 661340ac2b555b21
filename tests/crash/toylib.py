"""The toy's scenarios and invariants, shared by the harness's own tests."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from crashlib import Scenario, tracer_path

IN_MEMORY = "/dev/shm"  # kills need no disk, and syncs cost nothing here


def toy_path():
    return str(Path(tracer_path()).parent / "cairn_crash_toy")


def toy(*words):
    done = subprocess.run([toy_path(), *map(str, words)], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == 0, f"toy {words}: {done.stderr}"
    return done.stdout


def check_toy(root, acknowledged, verb):
    """What must hold after recovery: whole trees, both of one state, nothing left over."""
    states = set()
    for volume in ("a", "b"):
        tree = root / "volumes" / volume
        state = (tree / "id").read_text()
        assert state in ("old", "new"), f"{volume}: id is {state!r}"
        assert (tree / "data").read_text() == state[0] * 6000, f"{volume}: data is not whole"
        assert (tree / "sub" / "more").read_text() == f"more of {state}", f"{volume}: sub/more"
        states.add(state)
    assert len(states) == 1, "one volume is old, the other new"
    assert not list((root / "staging").iterdir()), "staging is not empty"
    assert not list((root / "journal").iterdir()), "journal is not empty"
    assert not (root / "paused").exists(), "left paused"
    named = (root / "catalog").read_text()
    assert named in ("", "x\n"), f"catalog is {named!r}"
    if named:
        assert (root / "published" / "x").read_text() == "x" * 5000, "the catalog names half a file"
    if acknowledged and verb == "restore":
        assert states == {"new"}, "done was said, the old state is there"
    if acknowledged and verb == "publish":
        assert named, "done was said, the catalog does not know"


class ToyScenario(Scenario):
    """publish or restore, correct or with one bug, crashed and recovered."""

    def __init__(self, verb, bug="none"):
        self.verb, self.bug = verb, bug
        self.template = Path(tempfile.mkdtemp(prefix="crash-toy.", dir=IN_MEMORY))
        toy("init", self.template)

    def prepare(self):
        state = Path(tempfile.mkdtemp(prefix="crash-case.", dir=IN_MEMORY))
        shutil.copytree(self.template, state, dirs_exist_ok=True)
        return state

    def argv(self, state):
        return [toy_path(), self.verb, state, self.bug]

    def recover_argv(self, state):
        return [toy_path(), "recover", state, self.bug]

    def check(self, state, run):
        acknowledged = "done" in run.stdout
        check_toy(state, acknowledged, self.verb)
        sync_failed = any(call["kind"] == "sync" and call.get("injected") for call in run.calls)
        committed = [call["n"] for call in run.calls if call["call"] == "unlink"]
        early = sync_failed and not run.killed and (
            not committed or next(call["n"] for call in run.calls if call.get("injected"))
            < committed[0])
        assert not (early and acknowledged), "done was said although a sync had failed"

    def close(self):
        shutil.rmtree(self.template, ignore_errors=True)
