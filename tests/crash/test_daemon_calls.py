"""cairnd, disturbed at every call that changes state, one operation after the other: it is killed there,
a call fails or is cut short, the disk is full from there on. choose.py says what applies to which call.
Every call is killed at, and fails in one of the ways that apply to it, by the seed; the soak takes every
call in every mode (lib/soak.py).

Some of the recoveries after a kill are killed, too: a sample, whose seed is printed; CAIRN_CRASH_SEED
repeats it, CAIRN_CRASH_INSIDE is its size for each operation. The soak takes all that find another state (states.py).
"""

import os
import random

import pytest

import states
from choose import choose
from daemon_pool import Case, Pool
from daemon_scenarios import OPERATIONS
from lib.soak import PART

SEED = int(os.environ.get("CAIRN_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
WORKERS = int(os.environ.get("CAIRN_CRASH_WORKERS", 3 * len(os.sched_getaffinity(0))))
INSIDE = int(os.environ.get("CAIRN_CRASH_INSIDE", "24"))  # for each operation
RECOVERIES = 8  # of each operation whose insides are looked at in ./dev test


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with Pool(WORKERS, tmp_path_factory.mktemp("workers")) as made:
        yield made


class Tally:
    """Plays cases, counts them, keeps what failed."""

    def __init__(self, pool):
        self.pool, self.counts, self.failures, self.missed = pool, {}, [], 0

    def play(self, cases):
        played = []
        for case in self.pool.run(cases):
            name = "inside" if case.inside > 0 else case.mode
            self.counts[name] = self.counts.get(name, 0) + 1
            self.missed += not case.fired
            if case.error:
                self.failures.append(f"daemon_pool.py {case}: {case.error}")
                print(self.failures[-1], flush=True)
            played.append(case)
        return played

    def conclude(self, what):
        cases = " ".join(f"{name}={count}" for name, count in self.counts.items())
        print(f"{what}: cases {cases}; {self.missed} ended before their call; seed {SEED}")
        assert not self.failures, \
            f"seed {SEED}, {len(self.failures)} failures:\n" + "\n".join(self.failures[:10])


def beyond_the_end(tally, name, count):
    """A run may make more calls than the counted one: goes on until one ends undisturbed."""
    while (last := tally.play([Case(name, "kill", count + 1)])[0]).fired and not last.error:
        count += 1


def one_failure_a_call(rng, chosen):
    """All kills, and one other mode of each call: all of them take longer than a test run may."""
    fatal = [(mode, at) for mode, at in chosen if mode.startswith("kill")]
    failures = {}
    for mode, at in chosen:
        if not mode.startswith("kill"):
            failures.setdefault(at, []).append(mode)
    return fatal + [(rng.choice(modes), at) for at, modes in sorted(failures.items())]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_survives(pool, name):
    calls = pool.count(name)
    chosen, left = choose(calls, whole=PART is not None)
    every = len(chosen)
    if PART:
        chosen = PART.of(chosen)
    else:
        rng = random.Random(f"{SEED}/{name}")
        chosen = one_failure_a_call(rng, chosen)
        chosen = sorted(rng.sample(chosen, -(-len(chosen) // OPERATIONS[name].part)), key=lambda case: case[1])
    others = every - len(chosen)
    tally = Tally(pool)
    tally.play([Case(name, mode, at) for mode, at in chosen])
    beyond_the_end(tally, name, len(calls))
    tally.conclude(f"{name}: {len(calls)} calls, " + (
        f"{left} of them change nothing, {others} cases in other parts of the soak" if PART
        else f"{left + others} cases left to the soak"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_recovery_survives(pool, name):
    """Kills in recoveries after kills, whose calls are asked for first."""
    rng = random.Random(f"{SEED}/{name}/inside")
    calls = pool.count(name)
    outer = states.outer(calls)
    if PART:
        outer = PART.of(outer)
    else:
        outer = rng.sample(outer, min(len(outer), RECOVERIES))
    tally = Tally(pool)
    asked = tally.play([Case(name, "kill", at, -1) for at in outer])
    found = states.distinct(calls, {case.at: case.calls for case in asked if case.fired})
    kills = [rng.choice(same) for _, same in sorted(found.items())]
    if not PART:
        kills = rng.sample(kills, min(len(kills), INSIDE))
    tally.play([Case(name, "kill", at, inside) for at, inside in kills])
    tally.conclude(f"{name}: {len(outer)} recoveries, {sum(map(len, found.values()))} kills inside find {len(found)} states")
