"""states.py: kills that it takes for the same leave the same behind. Random programs, really killed at each call."""

import os
import random
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path[:0] = [os.path.dirname(__file__), str(Path(__file__).resolve().parents[1] / "functional")]

from crashlib import run_traced  # noqa: E402
from lib.trees import diff_trees, read_tree  # noqa: E402
from states import State, before_each, distinct, outer  # noqa: E402

SEED = int(os.environ.get("CAIRN_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))

# One step a line; a step that cannot be done is left out.
PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
def put(name, text, flags=os.O_CREAT | os.O_WRONLY):
    file = os.open(name, flags, 0o600); os.write(file, text.encode()); os.close(file)
def nameless(directory, text, name):
    file = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600); os.write(file, text.encode())
    if name:
        os.link(f"/proc/self/fd/{file}", name, follow_symlinks=True); os.write(file, b"more")
    os.close(file)
def exchange(one, other):
    libc.renameat2(-100, one.encode(), -100, other.encode(), 2)
for step in sys.argv[1:]:
    try: exec(step)
    except OSError: pass
"""


def random_steps(rng, count):
    names = ["a", "b", "d", "d/x", "d/y", "e", "e/x"]
    steps = []
    for _ in range(count):
        one, other, text = rng.choice(names), rng.choice(names), rng.choice(["t", "text", "longer text"])
        link = rng.choice(["s", "d/s"])  # nothing is written through a link
        steps.append(rng.choice([
            f"put({one!r}, {text!r})", f"put({one!r}, {text!r})", f"os.mkdir({rng.choice('de')!r})",
            f"os.mkdir({rng.choice('de')!r})", f"os.unlink({one!r})", f"os.unlink({other!r})",
            f"os.rmdir({rng.choice('de')!r})", f"os.rename({one!r}, {other!r})", f"exchange({one!r}, {other!r})",
            f"os.link({one!r}, {other!r})", f"os.symlink('t', {link!r})", f"os.unlink({link!r})", f"os.chmod({one!r}, 0o640)",
            f"os.truncate({one!r}, 0)", f"nameless('.', {text!r}, {rng.choice([None, one])!r})"]))
    return steps


@pytest.mark.parametrize("number", range(6))
def test_what_is_taken_for_the_same_is_the_same(tmp_path, number):
    rng = random.Random(f"{SEED}/{number}")
    steps = random_steps(rng, 16)

    def run(at):
        directory = tmp_path / str(at)
        (directory / "d").mkdir(parents=True)
        (directory / "a").write_text("old")
        run = run_traced(["/usr/bin/python3", "-ISc", PROGRAM, *steps], cwd=directory, only=[directory], at=at,
                         do="kill" if at else "none")
        return directory, run.calls

    calls = run(0)[1]
    seen, same = {}, 0
    for call, (_, state) in zip(calls, before_each(calls, State())):
        tree = read_tree(run(call["n"])[0])
        key = state.key().replace(str(tmp_path / "0"), "")
        if key in seen:
            same += 1
            assert not (found := diff_trees(seen[key], tree, times=False)), f"seed {SEED}, {steps}, {key}: {found}"
        seen.setdefault(key, tree)
    assert len(seen) + same == len(calls) > 5, f"seed {SEED}, {steps}"


def test_a_transaction_counts_when_its_last_frame_is_written(tmp_path):
    """Kills at each call of two transactions: as many states as the database then shows."""
    program = ("import sqlite3; c = sqlite3.connect('db', isolation_level=None); "
               "[c.execute(f'UPDATE t SET x = {n}') for n in (1, 2)]; import os; os._exit(0)")

    def run(at):
        directory = tmp_path / str(at)
        directory.mkdir()
        made = sqlite3.connect(directory / "db", isolation_level=None)
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE t (x, filler)")
        made.executemany("INSERT INTO t VALUES (0, ?)", [("f" * 900,)] * 20)
        made.close()
        return directory, run_traced(["/usr/bin/python3", "-ISc", program], cwd=directory, only=[directory], at=at,
                                     do="kill" if at else "none").calls

    calls = run(0)[1]
    shown = {}
    for call, (_, state) in zip(calls, before_each(calls, State())):
        database = sqlite3.connect(run(call["n"])[0] / "db")
        rows = {row[0] for row in database.execute("SELECT x FROM t")}
        database.close()
        transactions = sum(entry[0] == "transaction" for entry in state.done)
        assert rows == {transactions}, f"at {call} {transactions} transactions were told, the rows are {rows}"
        shown.setdefault(state.key(), rows)
    assert set.union(*shown.values()) >= {0, 1}
    assert len(outer(calls)) == len(shown) < len(calls) / 2


def call(name, *paths, kind="meta", **more):
    return {"call": name, "kind": kind, "paths": list(paths), "tid": 1, "result": 0, **more}


def numbered(*calls):
    return [{**one, "n": number} for number, one in enumerate(calls, 1)]


def test_a_recovery_that_removes_what_differed_finds_the_same():
    staged = "/v/.cairn/op/0"
    calls = numbered(call("mkdirat", staged), call("fchmod", staged), call("unlinkat", "/v/other"))
    removal = numbered(call("unlinkat", staged), call("unlinkat", "/j"))
    found = distinct(calls, {2: removal, 3: removal})
    assert sorted(map(sorted, found.values())) == [[(2, 1)], [(2, 2), (3, 2)], [(3, 1)]]


def test_a_recovery_that_found_another_journal_writes_another_transaction():
    calls = numbered(call("pwrite64", "/j/op", kind="data", len=9), call("unlinkat", "/j/op"), call("mkdirat", "/x"))
    recovery = numbered(call("pwrite64", "/c-wal", kind="data", len=4096), call("unlinkat", "/j/op"), call("mkdirat", "/y"))
    found = distinct(calls, {1: recovery, 2: recovery})
    assert all(len(kills) == 1 for kills in found.values()), f"{found}"
